"""Tiles of a mask: their bits, and how a mask is cut into them.

A mask of (queries, keys) is cut into tiles of (size, size); those at the lower and right edge reach
beyond it, and hold 0 there. A tile is EMPTY, FULL (all positions inside the mask are True) or
MIXED, and only MIXED ones have bits: uint8 (size, size // 8), little bit order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

EMPTY, MIXED, FULL = 0, 1, 2

Index: TypeAlias = NDArray[np.int64]
States: TypeAlias = NDArray[np.int8]
Bits: TypeAlias = NDArray[np.uint8]
# see(element, i, j): which of the rows i (n, 1) see which of the keys j (1, m)
See: TypeAlias = Callable[[int, Index, Index], Any]
# surely(element, i_first, i_last, j_first, j_last): state of tiles, MIXED where it is not obvious
Surely: TypeAlias = Callable[[int, int, int, Index, Index], States]

_ONES: NDArray[np.uint8] = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
# Positions evaluated at once: 2 MiB in int64, so that what a function computes stays in the cache.
_POSITIONS = 1 << 18
# Tiles counted at once: 8 MiB of tables' output at the usual size.
_TILES = 1 << 12


@dataclass(frozen=True)
class Tiling:
    """How a mask of (queries, keys) is cut into tiles of (size, size)."""

    queries: int
    keys: int
    size: int

    @property
    def row_blocks(self) -> int:
        """How many tiles lie below each other."""
        return -(-self.queries // self.size)

    @property
    def key_blocks(self) -> int:
        """How many tiles lie beside each other."""
        return -(-self.keys // self.size)

    def inside(self, rows: Index, columns: Index) -> tuple[Index, Index]:
        """Tell how many rows and columns of the tiles lie inside the mask."""
        height = np.minimum(self.size, self.queries - rows * self.size)
        width = np.minimum(self.size, self.keys - columns * self.size)
        return height, width

    def whole(self, rows: Index, columns: Index) -> Bits:
        """Bits that are 1 wherever the tiles lie inside the mask; (tiles, size, size // 8)."""
        height, width = self.inside(rows, columns)
        n = np.arange(self.size)
        in_columns = np.packbits(n < width[:, np.newaxis], axis=1, bitorder="little")
        in_rows = (n < height[:, np.newaxis])[:, :, np.newaxis]
        return np.where(in_rows, in_columns[:, np.newaxis, :], np.uint8(0))

    def at_edge(self, rows: Index, columns: Index) -> NDArray[np.bool_]:
        """Tell which tiles reach beyond the mask."""
        height, width = self.inside(rows, columns)
        return (height < self.size) | (width < self.size)

    def states(self, bits: Bits, rows: Index, columns: Index) -> States:
        """Tell EMPTY, MIXED and FULL tiles apart by their bits."""
        height, width = self.inside(rows, columns)
        ones = count_ones(bits)
        states = np.full(len(bits), MIXED, dtype=np.int8)
        states[ones == 0] = EMPTY
        states[ones == height * width] = FULL
        return states

    def pack(self, values: NDArray[np.bool_], tiles: int) -> Bits:
        """Bits of so many tiles side by side, from values (rows, columns) of one row of blocks."""
        panel = np.packbits(values, axis=1, bitorder="little")
        bits: Bits = np.zeros((self.size, tiles * self.size // 8), dtype=np.uint8)
        bits[: panel.shape[0], : panel.shape[1]] = panel
        tiled: Bits = bits.reshape(self.size, tiles, self.size // 8).swapaxes(0, 1)
        return tiled


def states(empty: NDArray[np.bool_], full: NDArray[np.bool_]) -> States:
    """Make states of what is known of tiles."""
    return np.where(full, FULL, np.where(empty, EMPTY, MIXED)).astype(np.int8)


def by_tile(function: np.ufunc, values: NDArray[Any], block_size: int) -> NDArray[Any]:
    """Reduce the last axis, of keys, over each tile."""
    first = np.arange(0, values.shape[-1], block_size)
    reduced: NDArray[Any] = function.reduceat(values, first, axis=-1)
    return reduced


def count_ones(bits: Bits) -> Index:
    """Count the True positions of each tile."""
    ones = np.empty(len(bits), dtype=np.int64)
    for first in range(0, len(bits), _TILES):
        part = _ONES[bits[first : first + _TILES]]
        ones[first : first + _TILES] = part.sum(axis=(1, 2), dtype=np.int64)
    return ones


def evaluate(
    elements: int, tiling: Tiling, see: See, surely: Surely | None = None
) -> tuple[Index, States, Bits]:
    """Cut the mask that a function describes into tiles, asking it only where it must.

    Parameters
    ----------
    elements : int
        How many masks of (queries, keys) there are.
    tiling : Tiling
    see : callable
        ``see(element, i, j)``, a bool array that broadcasts to (len(i), len(j)).
    surely : callable, optional
        Tells the state of tiles from their first and last rows and keys; MIXED has them evaluated.

    Returns
    -------
    ids : ndarray of int64
        ``(element * row_blocks + row) * key_blocks + column`` of the tiles not EMPTY, ascending.
    states : ndarray of int8
    bits : ndarray of uint8, shape (MIXED tiles, size, size // 8)
    """
    columns = np.arange(tiling.key_blocks)
    j_first = columns * tiling.size
    j_last = np.minimum(j_first + tiling.size, tiling.keys) - 1
    all_ids: list[Index] = [np.empty(0, dtype=np.int64)]
    all_states: list[States] = [np.empty(0, dtype=np.int8)]
    all_bits: list[Bits] = [np.empty((0, tiling.size, tiling.size // 8), dtype=np.uint8)]
    for row in range(elements * tiling.row_blocks):
        element, block = divmod(row, tiling.row_blocks)
        i = np.arange(block * tiling.size, min((block + 1) * tiling.size, tiling.queries))
        if surely is None:
            states = np.full(len(columns), MIXED, dtype=np.int8)
        else:
            states = surely(element, int(i[0]), int(i[-1]), j_first, j_last)
        for at in _chunks(np.flatnonzero(states == MIXED), tiling.size):
            j = (at[:, np.newaxis] * tiling.size + np.arange(tiling.size)).ravel()
            j = j[j < tiling.keys]
            values = see(element, i[:, np.newaxis], j[np.newaxis])
            bits = tiling.pack(np.broadcast_to(values, (len(i), len(j))), len(at))
            states[at] = tiling.states(bits, np.full(len(at), block), at)
            all_bits.append(bits[states[at] == MIXED])
        there = np.flatnonzero(states != EMPTY)
        all_ids.append(row * tiling.key_blocks + there)
        all_states.append(states[there])
    return np.concatenate(all_ids), np.concatenate(all_states), np.concatenate(all_bits)


def _chunks(at: Index, size: int) -> Iterator[Index]:
    step = max(1, _POSITIONS // size**2)
    for first in range(0, len(at), step):
        yield at[first : first + step]
