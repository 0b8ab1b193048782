"""AND, OR and NOT of masks cut into tiles, without looking into tiles where it can be helped.

An operand is given by the ids of its tiles, their numbers and their bits: number -1 is a full tile,
0 and above one whose bits stand at that place. Tiles without an id are empty.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard.masks._tiling import EMPTY, FULL, MIXED, Bits, Index, States, Tiling

Operand: TypeAlias = tuple[Index, NDArray[Any], Bits]
Evaluated: TypeAlias = tuple[Index, States, Bits]

_FULL, _EMPTY = -1, -2  # numbers of tiles that have no bits
_STATE = {_FULL: FULL, _EMPTY: EMPTY}


def combine(tiling: Tiling, one: Operand, other: Operand, how: Literal["and", "or"]) -> Evaluated:
    """AND or OR of two masks of the same shape; what `evaluate` would give."""
    # A neutral operand leaves the other as it is, an absorbing one decides alone.
    neutral, absorbing = (_FULL, _EMPTY) if how == "and" else (_EMPTY, _FULL)
    ids = np.union1d(one[0], other[0])
    a, b = (_numbers(ids, operand) for operand in (one, other))
    states = np.full(len(ids), MIXED, dtype=np.int8)
    states[(a == neutral) & (b == neutral)] = _STATE[neutral]
    states[(a == absorbing) | (b == absorbing)] = _STATE[absorbing]

    mixed = np.flatnonzero(states == MIXED)
    a, b = a[mixed], b[mixed]
    bits = np.empty((len(mixed), tiling.size, tiling.size // 8), dtype=np.uint8)
    only_a, only_b, both = b == neutral, a == neutral, (a >= 0) & (b >= 0)
    bits[only_a] = one[2][a[only_a]]
    bits[only_b] = other[2][b[only_b]]
    operation = np.bitwise_and if how == "and" else np.bitwise_or
    bits[both] = operation(one[2][a[both]], other[2][b[both]])
    states[mixed[both]] = _states(tiling, ids[mixed[both]], bits[both])
    bits = bits[states[mixed] == MIXED]
    return ids[states != EMPTY], states[states != EMPTY], bits


def complement(tiling: Tiling, rows: int, operand: Operand) -> Evaluated:
    """NOT of a mask that has so many rows of blocks."""
    ids, numbers, tiles = operand
    mixed = numbers >= 0
    states = np.full(rows * tiling.key_blocks, FULL, dtype=np.int8)
    states[ids] = np.where(mixed, MIXED, EMPTY)
    bits = ~tiles[numbers[mixed]]
    at = rows_and_columns(tiling, ids[mixed])
    edge = np.flatnonzero(tiling.at_edge(*at))
    bits[edge] &= tiling.whole(at[0][edge], at[1][edge])
    there = np.flatnonzero(states != EMPTY)
    return there, states[there], bits


def rows_and_columns(tiling: Tiling, ids: Index) -> tuple[Index, Index]:
    """Place of tiles in their own mask, in blocks."""
    rows, columns = np.divmod(ids, max(1, tiling.key_blocks))
    return rows % max(1, tiling.row_blocks), columns


def _numbers(ids: Index, operand: Operand) -> NDArray[Any]:
    numbers = np.full(len(ids), _EMPTY, dtype=np.int64)
    numbers[np.searchsorted(ids, operand[0])] = operand[1]
    return numbers


def _states(tiling: Tiling, ids: Index, bits: Bits) -> States:
    return tiling.states(bits, *rows_and_columns(tiling, ids))
