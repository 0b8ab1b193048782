"""Bounds on the scores of a page: no key of page p has q·k above ``bound(Q, K)[..., p]``.

Each needs of K only what a cache can keep for a page, two vectors of D numbers at most, and for a
head its axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Bound: TypeAlias = Callable[[Array, Array], Array]


def box(query: Array, keys: Array) -> Array:
    """Take each feature at its largest or smallest: Σ max(q lo, q hi)."""
    low, high = keys.min(axis=1), keys.max(axis=1)
    largest: Array = np.maximum(query, 0) @ high.T + np.minimum(query, 0) @ low.T
    return largest


def ball(query: Array, keys: Array) -> Array:
    """Cauchy and Schwarz round the centre: q·c + |q| r."""
    centres = keys.mean(axis=1)
    radii = np.linalg.norm(keys - centres[:, np.newaxis], axis=-1).max(axis=1)
    largest: Array = query @ centres.T + np.linalg.norm(query, axis=-1, keepdims=True) * radii
    return largest


def discs(query: Array, keys: Array) -> Array:
    """Do so for each pair of features (2n, 2n + 1), which a rotary position turns in a circle."""
    centres = keys.mean(axis=1)
    radii = _pair_norms(keys - centres[:, np.newaxis]).max(axis=1)
    largest: Array = query @ centres.T + _pair_norms(query) @ radii.T
    return largest


def _pair_norms(x: Array) -> Array:
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    norms: Array = np.hypot(pairs[..., 0], pairs[..., 1])
    return norms


def principal_axes(keys: Array) -> tuple[Array, Array]:
    """Find the axes along which the keys of a head lie about the centres of their pages.

    Returns
    -------
    axes : ndarray, shape (D, D)
        Columns of an orthogonal matrix.
    deviations : ndarray, shape (D,)
        Of the keys, along each of them.
    """
    away = (keys - keys.mean(axis=1, keepdims=True)).reshape(-1, keys.shape[-1])
    variances, axes = np.linalg.eigh(away.T @ away / len(away))
    # Keys may have no part in a direction; a ten-thousandth of the largest is nothing to divide by.
    least = 1e-8 * variances[-1] or 1.0
    return axes, np.sqrt(np.maximum(variances, least))


def rotated_box(query: Array, keys: Array) -> Array:
    """Use a box along the principal axes of the head."""
    axes, _ = principal_axes(keys)
    return box(query @ axes, keys @ axes)


def ellipsoid(query: Array, keys: Array) -> Array:
    """Use a ball where each principal axis is measured by its deviation: q·k = (q σ)·(k / σ)."""
    axes, deviations = principal_axes(keys)
    return ball(query @ axes * deviations, keys @ axes / deviations)


#: Rows of the tables.
BOUNDS: dict[str, Bound] = {
    "minimum and maximum": box,
    "the same, along principal axes": rotated_box,
    "centre and radius": ball,
    "the same, in units of each principal axis": ellipsoid,
    "centre and a radius for each rotary pair": discs,
}
SMALLEST = "the smallest of these"


def all_bounds(query: Array, keys: Array) -> dict[str, Array]:
    """Compute every bound, and the smallest of them."""
    found: dict[str, Any] = {name: bound(query, keys) for name, bound in BOUNDS.items()}
    found[SMALLEST] = np.minimum.reduce(list(found.values()))
    return found
