"""Biases that depend on where query and key stand, for ``position_bias=`` of `regard.attention`.

Each is a small table of numbers for each head; the kernel looks them up in each tile of scores, so
nothing of size (queries, keys) is held. ``to_dense`` writes that array out, as the definition.
Query i stands at position p = i + offset, key j at j.
"""

from regard.bias._grid import Grid
from regard.bias._relative import T5, Relative
from regard.bias._table import Lowered, PositionBias

__all__ = ["T5", "Grid", "Lowered", "PositionBias", "Relative"]
