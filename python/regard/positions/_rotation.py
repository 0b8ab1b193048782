"""The rotation itself: cosines and sines of positions, and how they turn vectors.

With ``a = p * frequency`` for each pair (x, y) of features, and the factor f of a scaling:

    x' = f cos a * x - f sin a * y
    y' = f cos a * y + f sin a * x
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._bfloat16 import is_bfloat16, narrowed, widened

# Positions whose cosines are kept once they have been used, so that a generated token costs a
# look-up: 16 MiB for 64 features. Those further out are computed anew.
_KEPT = 1 << 15
_LEAST_KEPT = 1 << 10


class Rotation:
    """Turns pairs of features by angles that grow with the position.

    Parameters
    ----------
    frequencies : ndarray of float64, shape (dim / 2,)
        Radians for each step of the position.
    factor : float
        Multiplies the turned features.
    interleaved : bool
        Whether features 2 n and 2 n + 1 are a pair, or n and n + dim / 2.
    first : int, default 0
        Features in front of those that are turned.
    """

    def __init__(
        self,
        frequencies: NDArray[np.float64],
        factor: float,
        interleaved: bool,
        first: int = 0,
    ) -> None:
        self.first = first
        self.frequencies = frequencies
        self.factor = factor
        self.interleaved = interleaved
        self.dim = 2 * len(frequencies)
        self._tables: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rotation) and (
            self.factor == other.factor
            and self.first == other.first
            and self.interleaved == other.interleaved
            and np.array_equal(self.frequencies, other.frequencies)
        )

    __hash__ = None  # type: ignore[assignment]

    def turn(self, x: NDArray[Any], positions: NDArray[Any]) -> NDArray[Any]:
        """Turn x (..., S, D), whose vectors are at `positions`, which broadcasts to (..., S)."""
        if self.first:
            return self._behind(x, lambda rest: self._turn(rest, positions))
        return self._turn(x, positions)

    def _turn(self, x: NDArray[Any], positions: NDArray[Any]) -> NDArray[Any]:
        dtype = accurate(x.dtype)
        if positions.dtype.kind == "i" and positions.size:
            last = int(positions.max())
            if last < _KEPT and positions.min() >= 0:
                cos, sin = self._table(last + 1, dtype)
                return turn_pairs(x, cos[positions], sin[positions], self.interleaved)
        return turn_pairs(x, *self._factors(positions, dtype), self.interleaved)

    def turn_from(self, x: NDArray[Any], first: int) -> NDArray[Any]:
        """Turn x (..., S, D), whose vectors are at `first` and the positions after it."""
        if self.first:
            return self._behind(x, lambda rest: self._turn_from(rest, first))
        return self._turn_from(x, first)

    def _behind(
        self, x: NDArray[Any], turn: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> NDArray[Any]:
        """Turn what lies behind the first features."""
        return np.concatenate((x[..., : self.first], turn(x[..., self.first :])), axis=-1)

    def _turn_from(self, x: NDArray[Any], first: int) -> NDArray[Any]:
        end, dtype = first + x.shape[-2], accurate(x.dtype)
        if first >= 0 and end <= _KEPT:
            cos, sin = self._table(end, dtype)
            return turn_pairs(x, cos[first:end], sin[first:end], self.interleaved)
        return turn_pairs(x, *self._factors(np.arange(first, end), dtype), self.interleaved)

    def _table(self, count: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the factors of at least the first `count` positions."""
        table = self._tables.get(dtype.char)
        if table is None or len(table[0]) < count:
            rows = max(_LEAST_KEPT, 1 << (count - 1).bit_length())
            table = self._factors(np.arange(rows), dtype)
            # A new dict, never a change of one that another thread may be reading.
            self._tables = {**self._tables, dtype.char: table}
        return table

    def _factors(
        self, positions: NDArray[Any], dtype: np.dtype[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Compute what multiplies each feature, and what its partner: (..., S, *pairs)."""
        angles = positions[..., np.newaxis] * self.frequencies
        cos = (self.factor * np.cos(angles)).astype(dtype)
        sin = (self.factor * np.sin(angles)).astype(dtype)
        return paired(cos, sin, self.interleaved)


def paired(
    cos: NDArray[Any], sin: NDArray[Any], interleaved: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """From (..., S, pairs) make what multiplies each feature, and its partner: (..., S, *pairs)."""
    axis = -1 if interleaved else -2
    return np.stack((cos, cos), axis), np.stack((-sin, sin), axis)


def turn_pairs(
    x: NDArray[Any], cos: NDArray[Any], sin: NDArray[Any], interleaved: bool
) -> NDArray[Any]:
    """Turn the first features of x (..., S, D) by factors of :func:`paired`; others stay."""
    pairs, dim = cos.shape[-2:], cos.shape[-1] * cos.shape[-2]
    half = is_bfloat16(x.dtype)
    dtype, x = x.dtype, widened(x) if half else x
    whole = dim == x.shape[-1]
    features = (x if whole else x[..., :dim]).reshape((*x.shape[:-1], *pairs))
    turned = features * cos
    turned += (features[..., ::-1] if interleaved else features[..., ::-1, :]) * sin
    merged = turned.reshape((*x.shape[:-1], dim))
    if not whole:
        merged = np.concatenate((merged, x[..., dim:]), axis=-1)
    return narrowed(merged, dtype) if half else merged.astype(dtype, copy=False)


def accurate(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Choose what to compute in: half precision is rounded once, at the end."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
