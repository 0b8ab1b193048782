"""The rotation itself: cosines and sines of positions, and how they turn vectors.

With ``a = p * frequency`` for each pair (x, y) of features, and the factor f of a scaling:

    x' = f cos a * x - f sin a * y
    y' = f cos a * y + f sin a * x
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._bfloat16 import is_bfloat16, to_bfloat16, to_float32

# Positions whose cosines are kept together: a generated token costs a look-up, and the table stays
# small however far the positions go.
_BLOCK = 256
_KEPT_BLOCKS = 4


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
    """

    def __init__(self, frequencies: NDArray[np.float64], factor: float, interleaved: bool) -> None:
        self.frequencies = frequencies
        self.factor = factor
        self.interleaved = interleaved
        self.dim = 2 * len(frequencies)
        self._pairs = (self.dim // 2, 2) if interleaved else (2, self.dim // 2)
        self._blocks: dict[Any, tuple[NDArray[Any], NDArray[Any]]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rotation) and (
            self.factor == other.factor
            and self.interleaved == other.interleaved
            and np.array_equal(self.frequencies, other.frequencies)
        )

    __hash__ = None  # type: ignore[assignment]

    def turn(self, x: NDArray[Any], positions: NDArray[Any]) -> NDArray[Any]:
        """Turn x (..., S, D), whose vectors are at `positions`, which broadcasts to (..., S)."""
        return self._turned(x, *self._factors(positions, _accurate(x.dtype)))

    def turn_from(self, x: NDArray[Any], first: int) -> NDArray[Any]:
        """Turn x (..., S, D), whose vectors are at `first` and the positions after it."""
        dtype, count = _accurate(x.dtype), x.shape[-2]
        block, row = divmod(first, _BLOCK)
        if row + count > _BLOCK:
            return self._turned(x, *self._factors(np.arange(first, first + count), dtype))
        cos, sin = self._blocks.get((block, dtype)) or self._fill(block, dtype)
        return self._turned(x, cos[row : row + count], sin[row : row + count])

    def _fill(self, block: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        first = block * _BLOCK
        factors = self._factors(np.arange(first, first + _BLOCK), dtype)
        # A new dict, never a change of one that another thread may be reading.
        kept = list(self._blocks.items())[-_KEPT_BLOCKS + 1 :]
        self._blocks = dict([*kept, ((block, dtype), factors)])
        return factors

    def _factors(
        self, positions: NDArray[Any], dtype: np.dtype[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Compute what multiplies each feature, and what its partner: (..., S, *pairs)."""
        angles = positions[..., np.newaxis] * self.frequencies
        cos = (self.factor * np.cos(angles)).astype(dtype)
        sin = (self.factor * np.sin(angles)).astype(dtype)
        axis = -1 if self.interleaved else -2
        return np.stack((cos, cos), axis), np.stack((-sin, sin), axis)

    def _turned(self, x: NDArray[Any], cos: NDArray[Any], sin: NDArray[Any]) -> NDArray[Any]:
        dim, half = self.dim, is_bfloat16(x.dtype)
        dtype, x = x.dtype, to_float32(x) if half else x
        whole = dim == x.shape[-1]
        pairs = (x if whole else x[..., :dim]).reshape((*x.shape[:-1], *self._pairs))
        turned = pairs * cos
        turned += (pairs[..., ::-1] if self.interleaved else pairs[..., ::-1, :]) * sin
        features = turned.reshape((*x.shape[:-1], dim))
        if not whole:
            features = np.concatenate((features, x[..., dim:]), axis=-1)
        return to_bfloat16(features, dtype) if half else features.astype(dtype, copy=False)


def _accurate(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Choose what to compute in: half precision is rounded once, at the end."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
