"""Simple models of images, by counting: bits that a pixel costs with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def by_place(images: Array, held_out: Array, levels: int) -> float:
    """Each pixel by how often its place had its level; every level was seen once more."""
    chances = _chances_of_places(images, levels)
    return _bits(chances[np.arange(images.shape[1]), held_out])


def by_neighbours(images: Array, held_out: Array, levels: int, weight: float = 8.0) -> float:
    """Each pixel by the levels on its left and above it; what its place has counts as `weight`."""
    counts = np.zeros((levels + 1, levels + 1, levels))
    left, above = _neighbours(images, levels)
    np.add.at(counts, (left, above, images), 1)
    seen = counts[_neighbours(held_out, levels)]
    of_place = _chances_of_places(images, levels)
    blend = (seen + weight * of_place) / (seen.sum(axis=-1, keepdims=True) + weight)
    return _bits(np.take_along_axis(blend, held_out[..., np.newaxis], axis=-1))


def _neighbours(images: Array, levels: int) -> tuple[Array, Array]:
    """Levels on the left and above; outside of the image there is one more level."""
    side = round(images.shape[1] ** 0.5)
    framed = np.pad(
        images.reshape(-1, side, side), ((0, 0), (1, 0), (1, 0)), constant_values=levels
    )
    return framed[:, 1:, :-1].reshape(images.shape), framed[:, :-1, 1:].reshape(images.shape)


def _chances_of_places(images: Array, levels: int) -> Array:
    counts = np.stack([np.bincount(place, minlength=levels) for place in images.T]) + 1
    return counts / counts.sum(axis=1, keepdims=True)


def _bits(chances: Array) -> float:
    return float(-np.mean(np.log2(chances)))
