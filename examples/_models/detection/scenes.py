"""Drawn images of circles, squares and triangles that cover each other, on uneven ground.

A shape is what is within its edges by a signed distance, so that edges are smooth at every size
and angle. Lines are drawn over the shapes; they are no objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NAMES = ("circle", "square", "triangle")
CIRCLE, TRIANGLE = NAMES.index("circle"), NAMES.index("triangle")
SIDE, MOST = 48, 5  # pixels of a side; objects of an image at most
SIZES = 6.0, 11.0  # pixels from the middle of a shape to its edge or its corners
SEEN = 0.4  # share of an object that others leave to be seen, or it is left out
NOISE, LINES = 0.1, 2


@dataclass(frozen=True)
class Scenes:
    """Images, and the objects in them.

    Attributes
    ----------
    images : ndarray of float32, shape (count, SIDE, SIDE)
    labels : ndarray of int, shape (count, MOST)
        Of `NAMES`; -1 where there is no further object.
    boxes : ndarray of float32, shape (count, MOST, 4)
        x and y of the middle, width and height, as shares of the image's side; of the whole
        object, also where another one covers it.
    """

    images: Array
    labels: Array
    boxes: Array

    def __len__(self) -> int:
        return len(self.images)


def draw(count: int, rng: np.random.Generator) -> Scenes:
    """Draw scenes of up to `MOST` objects."""
    labels = rng.integers(0, len(NAMES), (count, MOST))
    labels[np.arange(MOST) >= rng.integers(1, MOST + 1, (count, 1))] = -1
    size, angle = rng.uniform(*SIZES, labels.shape), rng.uniform(0, 2 * np.pi, labels.shape)
    low, high = _extent(labels, size, angle)
    middle = rng.uniform(-low, SIDE - high)
    cover = _cover(labels, middle, size, angle)

    bare = np.ones((count, SIDE, SIDE), np.float32)  # what later objects leave
    for number in reversed(range(MOST)):
        own, there = cover[:, number], labels[:, number] >= 0
        seen = (own * bare).sum(axis=(1, 2)) > SEEN * own.sum(axis=(1, 2))
        labels[:, number] = np.where(there & seen, labels[:, number], -1)
        own *= (there & seen)[:, np.newaxis, np.newaxis]
        bare *= 1 - own

    levels = rng.uniform(0.45, 1.0, labels.shape).astype(np.float32)
    images = _ground(count, rng)
    for number in range(MOST):
        images += cover[:, number] * (levels[:, number, np.newaxis, np.newaxis] - images)
    _draw_lines(images, rng)
    images += NOISE * rng.standard_normal(images.shape, dtype=np.float32)

    boxes = np.concatenate([middle + (low + high) / 2, high - low], axis=-1) / SIDE
    boxes = np.where(labels[..., np.newaxis] >= 0, boxes, 0).astype(np.float32)
    order = np.argsort(labels < 0, axis=1, kind="stable")
    labels = np.take_along_axis(labels, order, axis=1)
    return Scenes(images, labels, np.take_along_axis(boxes, order[..., np.newaxis], axis=1))


def _directions(labels: Array, angle: Array) -> Array:
    """Point to the corners, (count, MOST, 4, 2); to the first of a triangle twice."""
    corners = np.where(labels == TRIANGLE, 3, 4)[..., np.newaxis]
    turns = angle[..., np.newaxis] + 2 * np.pi * np.arange(4) / corners
    return np.stack([np.cos(turns), np.sin(turns)], axis=-1)


def _extent(labels: Array, size: Array, angle: Array) -> tuple[Array, Array]:
    """How far a shape goes from its middle: the lowest and the highest x and y."""
    reach = size[..., np.newaxis]
    corners = _directions(labels, angle) * reach[..., np.newaxis]
    circle = (labels == CIRCLE)[..., np.newaxis]
    low = np.where(circle, -reach, corners.min(axis=2))
    return low, np.where(circle, reach, corners.max(axis=2))


def _cover(labels: Array, middle: Array, size: Array, angle: Array) -> Array:
    """Share of each pixel that a shape covers: (count, MOST, SIDE, SIDE)."""
    half = np.pi / np.where(labels == TRIANGLE, 3, 4)
    normals = _directions(labels, angle + half)
    away = np.einsum("...kx,...x->...k", normals, middle) + (size * np.cos(half))[..., np.newaxis]
    y, x = np.indices((SIDE, SIDE), np.float32).reshape(2, -1) + np.float32(0.5)
    across = normals.astype(np.float32) @ np.stack([x, y])
    across -= away.astype(np.float32)[..., np.newaxis]
    distance = across.max(axis=2)
    round_ = np.nonzero(labels == CIRCLE)
    from_x, from_y = middle[round_].astype(np.float32).T[..., np.newaxis]
    edge = size[round_].astype(np.float32)[:, np.newaxis]
    distance[round_] = np.hypot(x - from_x, y - from_y) - edge
    cover: Array = np.clip(0.5 - distance, 0, 1).reshape(*labels.shape, SIDE, SIDE)
    return cover


def _ground(count: int, rng: np.random.Generator) -> Array:
    """Levels that change evenly from one side to another."""
    across = np.linspace(-1, 1, SIDE)
    slopes = rng.uniform(-0.1, 0.1, (2, count, 1))
    level = rng.uniform(0.1, 0.3, (count, 1, 1))
    rows, columns = slopes * across
    plane: Array = level + rows[:, :, np.newaxis] + columns[:, np.newaxis]
    return plane.astype(np.float32)


def _draw_lines(images: Array, rng: np.random.Generator) -> None:
    """Draw lines from side to side, a pixel and a half wide."""
    y, x = np.indices((SIDE, SIDE), np.float32) + np.float32(0.5)
    for _ in range(LINES):
        point = rng.uniform(0, SIDE, (2, len(images), 1, 1)).astype(np.float32)
        angle = rng.uniform(0, np.pi, (len(images), 1, 1)).astype(np.float32)
        away = np.abs((x - point[0]) * np.sin(angle) - (y - point[1]) * np.cos(angle))
        level = rng.uniform(0.3, 0.9, (len(images), 1, 1)).astype(np.float32)
        images += np.clip(1.25 - away, 0, 1) * (level - images)
