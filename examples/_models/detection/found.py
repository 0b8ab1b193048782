"""What was found in scenes, and how good that is."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from _models.packages import package_folder

from .boxes import ends, iou
from .scenes import NAMES, SIDE, Scenes

Array = NDArray[Any]


@dataclass(frozen=True)
class Found:
    """Objects that were found, of all images one after the other.

    Attributes
    ----------
    image, label : ndarray of int, shape (objects,)
    score : ndarray, shape (objects,)
        How sure that is, 0 to 1.
    box : ndarray, shape (objects, 4)
        As in `Scenes`.
    """

    image: Array
    label: Array
    score: Array
    box: Array

    @classmethod
    def of_queries(cls, logits: Array, boxes: Array) -> Found:
        """Take the likeliest class of each query, and how likely it is."""
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        chances = (powers / powers.sum(axis=-1, keepdims=True))[..., :-1]
        image = np.repeat(np.arange(len(boxes)), boxes.shape[1])
        label, score = chances.argmax(axis=-1), chances.max(axis=-1)
        return cls(image, label.ravel(), score.ravel(), boxes.reshape(-1, 4))

    def sure(self, least: float = 0.5) -> Found:
        """Leave out what is not that sure."""
        kept = self.score >= least
        return Found(self.image[kept], self.label[kept], self.score[kept], self.box[kept])


def overlaps(found: Found, scenes: Scenes) -> tuple[Array, Array, Array]:
    """Match what was found with what is there, so that the sum of IoU is the largest.

    Returns
    -------
    iou : ndarray, shape (objects,)
        Of each object of the scenes; 0 if it is matched with nothing.
    label, matched : ndarray of int, shape (objects,)
        Its label, and that of what it is matched with; -1 for nothing.
    """
    there = scenes.labels >= 0
    value, matched = np.zeros(there.shape), np.full(there.shape, -1)
    for image, number in enumerate(there.sum(axis=1)):
        own = np.flatnonzero(found.image == image)
        table = iou(found.box[own, np.newaxis], scenes.boxes[image, np.newaxis, :number])
        rows, objects = linear_sum_assignment(table, maximize=True)
        value[image, objects] = table[rows, objects]
        touching = table[rows, objects] > 0
        matched[image, objects[touching]] = found.label[own[rows[touching]]]
    return value[there], scenes.labels[there], matched[there]


def average_precision(found: Found, scenes: Scenes) -> tuple[float, float]:
    """AP as COCO defines it, by pycocotools: over IoU of 0.5 to 0.95, and at 0.5; in per cent."""
    package_folder("pycocotools", "pip install pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    image, place = np.nonzero(scenes.labels >= 0)
    boxes = _of_coco(scenes.boxes[image, place])
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(scenes))],
        "categories": [{"id": number} for number in range(len(NAMES))],
        "annotations": [
            {"id": number + 1, "image_id": int(image[number]), "bbox": box.tolist(), "iscrowd": 0,
             "category_id": int(scenes.labels[image[number], place[number]]),
             "area": float(box[2:].prod())}
            for number, box in enumerate(boxes)
        ],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        rows = np.column_stack([found.image, _of_coco(found.box), found.score, found.label])
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0]), 100 * float(evaluation.stats[1])


def _of_coco(boxes: Array) -> Array:
    """Lowest x and y, width and height, in pixels."""
    return SIDE * np.concatenate([ends(boxes)[0], boxes[:, 2:]], axis=1).astype(np.float64)
