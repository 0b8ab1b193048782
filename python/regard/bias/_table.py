"""What the position biases have in common: a table of numbers for each head."""

from __future__ import annotations

import copy
import numbers
from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Kind: TypeAlias = Literal["relative", "grid"]


class Lowered(TypedDict):
    """A position bias as the compiled core takes it.

    The bias of query i and key j is, with kind "relative" and ``w = (L - 1) / 2``,
    ``table[h, clip(j - p, -w, w) + w]``; with kind "grid" it is that of `Grid`.
    """

    kind: Kind
    table: NDArray[Any]  # (heads or 1, L), C-contiguous
    height: int  # 0 unless kind is "grid"
    width: int


class PositionBias(ABC):
    """What the biases of this module have in common."""

    table: NDArray[Any]

    def to_dense(self, queries: int, keys: int, offset: int = 0) -> NDArray[Any]:
        """Write the bias out.

        Parameters
        ----------
        queries, keys : int
        offset : int, default 0
            Position of the first query; ``keys - queries`` where the last query is the last key.

        Returns
        -------
        ndarray, shape (H, queries, keys)
            In the dtype of the table.

        Raises
        ------
        ValueError
            A `Grid` has another number of pixels, or offset is not 0.
        """
        dense = self.table[self._rows(queries, keys, offset)]
        return np.ascontiguousarray(np.moveaxis(dense, -1, 0))

    def with_table(self, table: ArrayLike) -> PositionBias:
        """Make the same bias of other numbers, as after a step of training.

        Parameters
        ----------
        table : array_like
            Of the shape of ``table``; its last axis may be left out if it is 1.

        Returns
        -------
        PositionBias

        Raises
        ------
        TypeError, ValueError
            The table has another type or shape.

        Examples
        --------
        >>> import regard
        >>> regard.bias.Relative([0.1, 0.2, 0.3]).with_table([1.0, 2.0, 3.0]).to_dense(1, 3)
        array([[[2., 3., 3.]]])
        """
        other = copy.copy(self)
        other.table = as_table(table, type(self).__name__)
        if other.table.shape != self.table.shape:
            raise ValueError(
                f"{type(self).__name__}: table has shape {other.table.shape}; the bias was made "
                f"for {self.table.shape}.\n  Give one of that shape."
            )
        return other

    def lower(self, heads: int, dtype: DTypeLike) -> Lowered:
        """Give the compiled core what it takes.

        Parameters
        ----------
        heads : int
            How many query heads there are.
        dtype : dtype_like
            Type of the scores.

        Returns
        -------
        Lowered

        Raises
        ------
        ValueError
            The table is for another number of heads.
        """
        kind, table, height, width = self._lowered()
        if table.shape[1] not in (1, heads):
            raise ValueError(
                f"attention: position_bias is for {table.shape[1]} heads, and query has {heads}.\n"
                "  Give its table a column for each query head, or one for all."
            )
        by_head = np.ascontiguousarray(table.T, dtype=dtype)
        return {"kind": kind, "table": by_head, "height": height, "width": width}

    def from_lowered(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """Turn the gradient by the table of `lower` into that by the bias's own.

        Parameters
        ----------
        gradient : ndarray, shape (heads or 1, L)

        Returns
        -------
        ndarray, of the shape of ``table``
        """
        own: NDArray[Any] = gradient.T
        return own

    @abstractmethod
    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        """Row of the table that each pair takes."""

    @abstractmethod
    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        """Kind, table, height and width of `Lowered`, the heads still last."""


def as_table(table: ArrayLike, name: str) -> NDArray[Any]:
    """Make a table (rows, heads) of floats."""
    array = np.asarray(table)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.char not in "fd":
        raise TypeError(f"{name}: table has dtype {array.dtype}.\n  Use float32 or float64.")
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(
            f"{name}: table has shape {array.shape}.\n  Give (rows, heads), or (rows,) for all "
            "heads alike."
        )
    return array.reshape(len(array), -1)


def whole_number(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(f"{what} is {value!r}.\n  Give a whole number.")
    if value < 1:
        raise ValueError(f"{what} is {value}.\n  Give 1 or more.")
    return int(value)
