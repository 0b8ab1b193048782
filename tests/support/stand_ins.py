"""The least an object must be to serve as a mask or a position bias: what it means when dense."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class DenseMask:
    """A mask object that is its dense mask."""

    dense: np.ndarray

    def to_dense(self) -> np.ndarray:
        return self.dense


@dataclasses.dataclass(frozen=True)
class DistanceTable:
    """A bias looked up by distance, from a table (2 * reach + 1, heads)."""

    table: np.ndarray

    @property
    def reach(self) -> int:
        return len(self.table) // 2

    def to_dense(self, queries: int, keys: int, offset: int = 0) -> np.ndarray:
        p = np.arange(queries)[:, np.newaxis] + offset
        distance = np.clip(np.arange(keys) - p, -self.reach, self.reach)
        return np.moveaxis(self.table[distance + self.reach], -1, 0)
