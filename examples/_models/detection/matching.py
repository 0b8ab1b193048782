"""The loss of a set: each object is matched with one query, and the other queries find nothing.

Carion, N. et al., "End-to-End Object Detection with Transformers" (DETR), 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from regard.nn.training import cross_entropy_vjp

from .boxes import giou, giou_vjp

Array = NDArray[Any]

DISTANCE, OVERLAP = 5.0, 2.0  # weights of the two losses of a box beside that of its class
NOTHING = 0.3  # weight of a query that has to find nothing, of which there are more
_IGNORED = -100


def match(logits: Array, boxes: Array, labels: Array, truth: Array) -> tuple[Array, Array, Array]:
    """Match objects with queries so that the sum of costs is the least.

    Parameters
    ----------
    logits : ndarray, shape (count, queries, classes + 1)
    boxes : ndarray, shape (count, queries, 4)
    labels : ndarray of int, shape (count, most)
        -1 where there is no object.
    truth : ndarray, shape (count, most, 4)

    Returns
    -------
    image, query, object : ndarray of int, shape (objects,)
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances = powers / powers.sum(axis=-1, keepdims=True)
    wanted = np.maximum(labels, 0)[:, np.newaxis]
    found, there = boxes[:, :, np.newaxis], truth[:, np.newaxis]
    cost = DISTANCE * np.abs(found - there).sum(axis=-1) - OVERLAP * giou(found, there)
    cost -= np.take_along_axis(chances, np.broadcast_to(wanted, cost.shape), axis=-1)
    pairs = []
    for index, number in enumerate((labels >= 0).sum(axis=1)):
        queries, objects = linear_sum_assignment(cost[index, :, :number])
        pairs.append((np.full(len(queries), index), queries, objects))
    image, query, object_ = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return image, query, object_


def set_loss_vjp(
    logits: Array, boxes: Array, labels: Array, truth: Array
) -> tuple[float, Callable[[], tuple[Array, Array]]]:
    """Loss of the matched set, and its derivatives by logits and boxes; arguments of `match`."""
    image, query, object_ = match(logits, boxes, labels, truth)
    classes = np.full(logits.shape[:2], _IGNORED)
    classes[image, query] = labels[image, object_]
    others = np.where(classes == _IGNORED, logits.shape[-1] - 1, _IGNORED)
    of_class, back_class = cross_entropy_vjp(logits, classes, reduction="sum")
    of_nothing, back_nothing = cross_entropy_vjp(logits, others, reduction="sum")
    away = boxes[image, query] - truth[image, object_]
    overlaps, back_overlap = giou_vjp(boxes[image, query], truth[image, object_])
    share = 1 / len(image)
    loss = of_class + NOTHING * of_nothing
    loss += float(DISTANCE * np.abs(away).sum() + OVERLAP * (1 - overlaps).sum())

    def back() -> tuple[Array, Array]:
        dlogits = back_class(share) + back_nothing(share * NOTHING)
        dboxes = np.zeros_like(boxes)
        dboxes[image, query] = share * (
            DISTANCE * np.sign(away) - OVERLAP * back_overlap(np.ones_like(overlaps))
        )
        return dlogits, dboxes

    return loss * share, back
