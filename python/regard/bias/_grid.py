"""The bias of windows of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.bias._table import Kind, PositionBias, as_table, whole_number


class Grid(PositionBias):
    """The relative bias of Swin: a number for each step between two pixels of a window.

    Queries and keys are the pixels of one window, row by row. Adds
    ``table[(yi - yj + height - 1) * (2 * width - 1) + xi - xj + width - 1, h]`` to the scores.

    Parameters
    ----------
    table : array_like, shape ((2 height - 1) * (2 width - 1), H), or without the last axis
        float32 or float64, e.g. Swin's ``relative_position_bias_table``.
    height, width : int
        Pixels of the window.

    Attributes
    ----------
    table : ndarray, shape ((2 height - 1) * (2 width - 1), H)
    height, width : int

    Raises
    ------
    ValueError
        The table has another length.
    TypeError
        table is not of real numbers, or height or width not a whole number.

    References
    ----------
    .. [1] Liu, Z. et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted
       Windows", 2021, equation 4.

    Examples
    --------
    >>> import regard
    >>> regard.bias.Grid([0.0, 0.1, 0.2], height=1, width=2).to_dense(2, 2)
    array([[[0.1, 0. ],
            [0.2, 0.1]]])
    """

    def __init__(self, table: ArrayLike, height: int, width: int) -> None:
        self.table = as_table(table, "Grid")
        self.height = whole_number(height, "Grid: height")
        self.width = whole_number(width, "Grid: width")
        rows = (2 * self.height - 1) * (2 * self.width - 1)
        if len(self.table) != rows:
            raise ValueError(
                f"Grid: table has {len(self.table)} rows.\n  Give (2 * height - 1) * "
                f"(2 * width - 1) = {rows} for a window of {self.height} x {self.width} pixels."
            )

    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        pixels = self.height * self.width
        if not queries == keys == pixels or offset:
            raise ValueError(
                f"Grid: {queries} queries from position {offset} and {keys} keys.\n  A window of "
                f"{self.height} x {self.width} pixels has {pixels} of each, from position 0."
            )
        y, x = np.divmod(np.arange(pixels), self.width)
        rows = y[:, np.newaxis] - y + self.height - 1
        columns = x[:, np.newaxis] - x + self.width - 1
        index: NDArray[Any] = rows * (2 * self.width - 1) + columns
        return index

    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        return "grid", self.table, self.height, self.width

    def __repr__(self) -> str:
        return f"Grid({self.height} x {self.width}, heads={self.table.shape[1]})"
