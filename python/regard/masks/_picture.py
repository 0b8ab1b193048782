"""A mask's tiles as a few lines of text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.masks._tiling import Tiling

_LINES, _CHARACTERS = 32, 64


def picture(
    tiling: Tiling, indptr: NDArray[np.int64], indices: NDArray[Any], partial: NDArray[Any]
) -> list[str]:
    """Draw the first mask: '█' full, '▒' partial, '·' empty; one character for one tile or more."""
    if not tiling.row_blocks or not tiling.key_blocks or len(indptr) == 1:
        return []
    lines = min(tiling.row_blocks, _LINES)
    characters = min(tiling.key_blocks, _CHARACTERS)
    line_of = np.arange(tiling.row_blocks) * lines // tiling.row_blocks
    character_of = np.arange(tiling.key_blocks) * characters // tiling.key_blocks

    first = slice(0, int(indptr[tiling.row_blocks]))
    line = np.repeat(line_of, np.diff(indptr[: tiling.row_blocks + 1]))
    cell = line * characters + character_of[indices[first]]
    there = np.bincount(cell, minlength=lines * characters)
    full = np.bincount(cell[partial[first] < 0], minlength=lines * characters)
    tiles = np.outer(np.bincount(line_of), np.bincount(character_of)).ravel()
    drawn = np.where(full == tiles, "█", np.where(there > 0, "▒", "·"))
    return ["".join(row) for row in drawn.reshape(lines, characters)]
