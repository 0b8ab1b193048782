"""Images made larger or smaller, as ONNX's Resize does with half_pixel coordinates.

A pixel of the result is a sum of those beside its place, in each direction by itself: two products
with a matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear(distance: Array) -> Array:
    """Weigh a pixel by its distance: a hat."""
    return np.maximum(1 - np.abs(distance), 0)


def cubic(distance: Array, a: float = -0.75) -> Array:
    """Weigh a pixel by its distance: Keys's cubic, with PyTorch's a."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def matrix(old: int, new: int, weigh: Any) -> Array:
    """Weights (new, old) of the old pixels; what is beyond an edge is the pixel at the edge."""
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
    beside = np.floor(places).astype(int)[:, np.newaxis] + np.arange(-1, 3)
    weights = np.zeros((new, old))
    rows = np.broadcast_to(np.arange(new)[:, np.newaxis], beside.shape)
    np.add.at(weights, (rows, beside.clip(0, old - 1)), weigh(places[:, np.newaxis] - beside))
    return weights


def resize(images: Array, height: int, width: int, weigh: Any) -> Array:
    """Resize (..., height, width)."""
    down = matrix(images.shape[-2], height, weigh)
    across = matrix(images.shape[-1], width, weigh)
    resized: Array = (down @ images @ across.T).astype(images.dtype)
    return resized
