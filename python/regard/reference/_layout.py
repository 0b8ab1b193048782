"""Axes in another order than batch, heads, sequence, dim."""

from __future__ import annotations

import numpy as np

from regard.reference._shapes import Array


def by_head(x: Array, layout: str) -> Array:
    """Bring axes named by letters into the order of BHSD, as far as they are among them."""
    ours = [letter for letter in "BHSD" if letter in layout]
    if len(layout) != x.ndim or len(ours) != x.ndim:
        raise ValueError(f"layout {layout!r} does not name the axes of {x.shape}")
    return np.moveaxis(x, [layout.index(letter) for letter in ours], range(x.ndim))


def as_given(x: Array, layout: str) -> Array:
    """Bring axes in the order of BHSD into that of the letters."""
    ours = [letter for letter in "BHSD" if letter in layout]
    return np.moveaxis(x, [ours.index(letter) for letter in layout], range(x.ndim))
