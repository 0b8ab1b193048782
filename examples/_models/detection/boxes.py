"""Boxes, how much of two of them is the same, and the gradient of that.

A box is (x, y, width, height), x and y of its middle. With A and B as areas, I of what two boxes
share, U = A + B - I, and E of the smallest box around both:

    IoU = I / U;    GIoU = I / U - (E - U) / E

Rezatofighi, H. et al., "Generalized Intersection over Union", 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ends(boxes: Array) -> tuple[Array, Array]:
    """Lowest and highest x and y of boxes (..., 4)."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return middle - half, middle + half


def iou(boxes: Array, others: Array) -> Array:
    """IoU of boxes and others (..., 4), by broadcasting; 0 where both are empty."""
    shared, union, _ = _areas(boxes, others)
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def giou(boxes: Array, others: Array) -> Array:
    """GIoU, likewise, of boxes that are not empty: 1 for equal ones, towards -1 far apart."""
    shared, union, around = _areas(boxes, others)
    return shared / union + union / around - 1


def giou_vjp(boxes: Array, others: Array) -> tuple[Array, Callable[[Array], Array]]:
    """GIoU, and the way back to the boxes; shapes are equal."""
    shared, union, around = _areas(boxes, others)

    def back(dgiou: Array) -> Array:
        dunion = dgiou * (1 / around - shared / union**2)
        dshared = dgiou / union - dunion  # union = areas - shared
        daround = -dgiou * union / around**2
        (low, high), (other_low, other_high) = ends(boxes), ends(others)
        # The derivative of an area by one side of it is the other side.
        inner = np.minimum(high, other_high) - np.maximum(low, other_low)
        both = (inner > 0).all(axis=-1, keepdims=True)
        dinner = np.where(both, dshared[..., np.newaxis] * inner[..., ::-1], 0)
        outer = np.maximum(high, other_high) - np.minimum(low, other_low)
        douter = daround[..., np.newaxis] * outer[..., ::-1]
        dhigh = dinner * (high < other_high) + douter * (high > other_high)
        dlow = -dinner * (low > other_low) - douter * (low < other_low)
        dsize = (dhigh - dlow) / 2 + dunion[..., np.newaxis] * boxes[..., :1:-1]
        return np.concatenate([dhigh + dlow, dsize], axis=-1)

    return shared / union + union / around - 1, back


def _areas(boxes: Array, others: Array) -> tuple[Array, Array, Array]:
    """Area of what is shared, of the union, and of the smallest box around both."""
    (low, high), (other_low, other_high) = ends(boxes), ends(others)
    inner = np.minimum(high, other_high) - np.maximum(low, other_low)
    shared = np.maximum(inner, 0).prod(axis=-1)
    outer = np.maximum(high, other_high) - np.minimum(low, other_low)
    own = boxes[..., 2:].prod(axis=-1) + others[..., 2:].prod(axis=-1)
    return shared, own - shared, outer.prod(axis=-1)
