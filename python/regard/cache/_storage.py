"""Keys and values as they lie in memory: rows of numbers, and for int8 a scale for each row."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._bfloat16 import MARKER, is_bfloat16, widened
from regard._core import store

DTYPES: dict[str, np.dtype[Any]] = {
    "bfloat16": MARKER,
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
    "float64": np.dtype(np.float64),
}

# Where an array begins: a cache line, so that no row of head_dim 32 or more straddles one more
# than it has to.
_ALIGNMENT = 64

# Tokens that are rounded together on their way to their pages, so that a long text needs no copy.
_TOGETHER = 1024
# Tokens in a page, on average, from which on a call for each page costs less than that copy.
_RUN = 8


class Storage:
    """The arrays of a cache, of shape (*lead, head_dim) and (*lead, value_dim).

    Parameters
    ----------
    dtype : str
        One of `DTYPES`.
    lead : tuple of int
        (batch, kv_heads, capacity), or (pages, kv_heads, page_size).
    head_dim, value_dim : int
    memory : ndarray of uint8, optional
        `nbytes` bytes to lie in; by default memory of their own, which is not touched before it is
        written to.
    latent : bool, default False
        Values are the first columns of the keys, and not stored again.
    """

    __slots__ = ("_latent", "key_scales", "keys", "nbytes", "value_scales", "values")

    def __init__(
        self,
        dtype: str,
        lead: tuple[int, ...],
        head_dim: int,
        value_dim: int,
        memory: NDArray[np.uint8] | None = None,
        latent: bool = False,
    ) -> None:
        parts, self.nbytes = _parts(dtype, lead, head_dim, value_dim, latent)
        self._latent = latent
        if memory is None:
            raw = np.empty(self.nbytes + _ALIGNMENT, np.uint8)
            memory = raw[-raw.ctypes.data % _ALIGNMENT :]
        arrays: list[NDArray[Any]] = [
            memory[start : start + size].view(kind).reshape(shape)
            for start, size, kind, shape in parts
        ]
        self.key_scales: NDArray[Any] | None = None
        self.value_scales: NDArray[Any] | None = None
        if latent:
            self.keys = arrays[0]
            self.values = self.keys[..., :value_dim]
            if len(arrays) > 1:
                self.key_scales = self.value_scales = arrays[1]
            return
        self.keys, self.values = arrays[:2]
        if len(arrays) > 2:
            self.key_scales, self.value_scales = arrays[2:]

    def write(self, key: NDArray[Any], value: NDArray[Any], at: Any) -> None:
        """Round rows to the type of the storage and write them to the place `at`."""
        key_scales, value_scales = self.key_scales, self.value_scales
        _put(key, self.keys[at], None if key_scales is None else key_scales[at])
        if not self._latent:
            _put(value, self.values[at], None if value_scales is None else value_scales[at])

    def scatter(
        self, key: NDArray[Any], value: NDArray[Any], pages: NDArray[Any], slots: NDArray[Any]
    ) -> None:
        """Round rows (total, heads, dim) and write each to its page and slot."""
        if len(key) >= 2 * _RUN:
            ends = (np.flatnonzero((np.diff(pages) != 0) | (np.diff(slots) != 1)) + 1).tolist()
            if len(ends) < len(key) // _RUN:  # a prompt: slots of a page that follow each other
                for begin, end in pairwise([0, *ends, len(key)]):
                    slot = slots[begin]
                    run = (pages[begin], slice(None), slice(slot, slot + end - begin))
                    self.write(key[begin:end].swapaxes(0, 1), value[begin:end].swapaxes(0, 1), run)
                return
        # Rounded together first: a call for each row would cost more than its bytes.
        for start in range(0, len(key), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            at = (pages[some], slice(None), slots[some])
            both = (
                (key[some], self.keys, self.key_scales),
                (
                    value[some],
                    self.values,
                    self.value_scales,
                ),
            )
            for rows, target, scales in both[:1] if self._latent else both:
                rounded = np.empty(rows.shape, target.dtype)
                of_rows = None if scales is None else np.empty(rows.shape[:-1], np.float32)
                _put(rows, rounded, of_rows)
                _plain(target)[at] = _plain(rounded)
                if scales is not None:
                    scales[at] = of_rows

    def by_token(self) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]:
        """Return views of (pages, page_size, kv_heads, ...), and scales as options of attention."""
        keys, values = self.keys.swapaxes(1, 2), self.values.swapaxes(1, 2)
        if self.key_scales is None or self.value_scales is None:
            return keys, values, {}
        return keys, values, {
            "key_scales": self.key_scales.swapaxes(1, 2),
            "value_scales": self.value_scales.swapaxes(1, 2),
        }  # fmt: skip

    def at(self, place: Any) -> tuple[NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]:
        """Return keys, values, and scales as options of attention."""
        if self.key_scales is None or self.value_scales is None:
            return self.keys[place], self.values[place], {}
        scales = {"key_scales": self.key_scales[place], "value_scales": self.value_scales[place]}
        return self.keys[place], self.values[place], scales

    def arrays(self) -> list[NDArray[Any]]:
        """All arrays: keys, values, and the scales if there are any."""
        if self._latent:
            return [self.keys] if self.key_scales is None else [self.keys, self.key_scales]
        arrays = [self.keys, self.values]
        if self.key_scales is not None and self.value_scales is not None:
            arrays += [self.key_scales, self.value_scales]
        return arrays

    def numbers(self, name: str, place: Any) -> NDArray[Any]:
        """Return a copy of "keys" or "values" as float32, or float64 as it is."""
        keys = name == "keys"
        stored = (self.keys if keys else self.values)[place]
        if stored.dtype == np.float64:
            return np.array(stored)
        wide = widened(stored) if stored.dtype == MARKER else stored.astype(np.float32)
        scales = self.key_scales if keys else self.value_scales
        if scales is not None:
            wide *= scales[place][..., np.newaxis]
        numbers: NDArray[Any] = wide
        return numbers

    def copy(self, target: Any, source: Storage, at: Any) -> None:
        """Copy what `source`, of the same type, has at `at` to the place `target`."""
        for mine, other in zip(self.arrays(), source.arrays(), strict=True):
            _plain(mine)[target] = _plain(other)[at]

    @staticmethod
    def size(
        dtype: str, lead: tuple[int, ...], head_dim: int, value_dim: int, latent: bool = False
    ) -> int:
        """Bytes that these arrays take."""
        return _parts(dtype, lead, head_dim, value_dim, latent)[1]


def _put(source: NDArray[Any], target: NDArray[Any], scales: NDArray[Any] | None) -> None:
    """Store rows; between float64 and the others by way of float32."""
    wide = target.dtype == np.float64
    if wide != (source.dtype == np.float64):
        with np.errstate(over="ignore"):
            narrow = widened(source) if is_bfloat16(source.dtype) else source
            source = narrow.astype(np.float64 if wide else np.float32)
    store(source, target, scales)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """As numbers that NumPy copies fast, which records of bfloat16 are not."""
    return array.view(np.uint16) if array.dtype == MARKER else array


_Part = tuple[int, int, "np.dtype[Any]", tuple[int, ...]]


def _parts(
    dtype: str, lead: tuple[int, ...], head_dim: int, value_dim: int, latent: bool
) -> tuple[list[_Part], int]:
    """(first byte, bytes, type, shape) of each array, and the bytes of all."""
    kind = DTYPES[dtype]
    shapes = [(kind, (*lead, head_dim))]
    if not latent:
        shapes.append((kind, (*lead, value_dim)))
    if dtype == "int8":
        shapes += [(np.dtype(np.float32), lead)] * len(shapes)
    parts: list[_Part] = []
    end = 0
    for part, shape in shapes:
        size = part.itemsize
        for length in shape:  # Python's integers: an absurd shape must not wrap round
            size *= length
        parts.append((end, size, part, shape))
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return parts, end
