"""Detectors without attention: connected components of bright pixels, and always the same boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .found import Found, overlaps
from .scenes import NAMES, SIDE, Scenes

Array = NDArray[Any]

_TRIED = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)  # thresholds
_SAMPLES = 12  # pixels a side of the form of a component


@dataclass
class Components:
    """Each connected component of bright pixels is an object; its form says which.

    Images are smoothed, and the level of the ground, a plane, is subtracted. What is above the
    threshold is opened, so that lines vanish. Threshold and logistic regression are fitted.
    """

    threshold: float
    classifier: Any

    @classmethod
    def fit(cls, scenes: Scenes) -> Components:
        """Find the threshold with the largest mean IoU, then learn the forms."""
        from sklearn.linear_model import LogisticRegression

        smooth = _smooth(scenes.images)
        tried = [(level, *_components(smooth > level)) for level in _TRIED]
        means = [overlaps(found, scenes)[0].mean() for _, found, _ in tried]
        threshold, found, masks = tried[int(np.argmax(means))]
        numbered = Found(found.image, np.arange(len(masks)), found.score, found.box)
        value, label, number = overlaps(numbered, scenes)
        good = value > 0.5
        classifier = LogisticRegression(C=0.1, max_iter=1000)
        return cls(threshold, classifier.fit(_forms(masks)[number[good]], label[good]))

    def __call__(self, images: Array) -> Found:
        """Find objects in images (count, SIDE, SIDE)."""
        found, masks = _components(_smooth(images) > self.threshold)
        chances = self.classifier.predict_proba(_forms(masks))
        label = self.classifier.classes_[chances.argmax(axis=1)]
        return Found(found.image, label, chances.max(axis=1), found.box)


def always_the_same(scenes: Scenes, count: int, images: int) -> Found:
    """Find the same boxes in each image: the means of `count` clusters, the commonest class."""
    from sklearn.cluster import KMeans

    there = scenes.labels >= 0
    middles = KMeans(count, n_init=4, random_state=0).fit(scenes.boxes[there]).cluster_centers_
    label = int(np.bincount(scenes.labels[there], minlength=len(NAMES)).argmax())
    number = images * count
    return Found(
        np.repeat(np.arange(images), count), np.full(number, label), np.ones(number),
        np.tile(middles, (images, 1)),
    )  # fmt: skip


def _smooth(images: Array) -> Array:
    """Smooth images, without the plane through their darker half."""
    smooth: Array = ndimage.gaussian_filter(images, (0, 1, 1))
    y, x = np.indices((SIDE, SIDE)).reshape(2, -1) / SIDE
    plane = np.column_stack([np.ones_like(x), x, y])
    for image in smooth:  # in place
        dark = (image < np.median(image)).ravel()
        weights = np.linalg.lstsq(plane[dark], image.ravel()[dark], rcond=None)[0]
        image -= (plane @ weights).reshape(image.shape)
    return smooth


def _components(bright: Array) -> tuple[Found, list[Array]]:
    """Find the components of images, and return the pixels of each within its box."""
    images, boxes, masks = [], [], []
    for number, mask in enumerate(bright):
        names, _ = ndimage.label(ndimage.binary_opening(mask, np.ones((4, 4))))
        for name, (rows, columns) in enumerate(ndimage.find_objects(names), 1):
            masks.append(names[rows, columns] == name)
            width, height = columns.stop - columns.start, rows.stop - rows.start
            boxes.append([columns.start + width / 2, rows.start + height / 2, width, height])
            images.append(number)
    nothing = np.zeros(len(boxes))
    box = np.array(boxes).reshape(-1, 4) / SIDE
    return Found(np.array(images, int), nothing.astype(int), nothing, box), masks


def _forms(masks: list[Array]) -> Array:
    """Bring components to one size, (objects, _SAMPLES²)."""
    places = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    return np.array([
        mask[np.ix_(*((places * side).astype(int) for side in mask.shape))].ravel()
        for mask in masks
    ])  # fmt: skip
