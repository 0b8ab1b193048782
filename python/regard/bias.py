"""Biases that depend on where query and key stand, for ``position_bias=`` of `regard.attention`.

Each is a small table of numbers for each head; the kernel looks them up in each tile of scores, so
nothing of size (queries, keys) is held. ``to_dense`` writes that array out, as the definition.
Query i stands at position p = i + offset, key j at j.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["T5", "Grid", "Lowered", "PositionBias", "Relative"]


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

    @abstractmethod
    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        """Row of the table that each pair takes."""

    @abstractmethod
    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        """Kind, table, height and width of `Lowered`, the heads still last."""


class Relative(PositionBias):
    """A number for each distance between key and query, as relative position embeddings learn it.

    Adds ``table[clip(j - p, -w, w) + w, h]`` to the scores.

    Parameters
    ----------
    table : array_like, shape (2 w + 1, H) or (2 w + 1,)
        float32 or float64. One column for each head; without that axis, the same for all. Keys
        further away than w take the number at that end.

    Attributes
    ----------
    table : ndarray, shape (2 w + 1, H)

    Raises
    ------
    ValueError
        The first axis has an even length, or there are not one or two axes.
    TypeError
        table is not of real numbers.

    References
    ----------
    .. [1] Shaw, P. et al., "Self-Attention with Relative Position Representations", 2018.

    Examples
    --------
    >>> import regard
    >>> regard.bias.Relative([0.1, 0.2, 0.3]).to_dense(2, 3)
    array([[[0.2, 0.3, 0.3],
            [0.1, 0.2, 0.3]]])
    """

    def __init__(self, table: ArrayLike) -> None:
        self.table = _table(table, "Relative")
        if len(self.table) % 2 == 0:
            raise ValueError(
                f"Relative: table has {len(self.table)} rows.\n  Give 2 * w + 1, for the distances "
                "from -w to w."
            )

    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        reach = len(self.table) // 2
        return np.clip(_distances(queries, keys, offset), -reach, reach) + reach

    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        return "relative", self.table, 0, 0

    def __repr__(self) -> str:
        return f"Relative(reach={len(self.table) // 2}, heads={self.table.shape[1]})"


class T5(PositionBias):
    """The relative bias of T5: near keys have their own number, far ones share one in a bucket.

    Buckets are those of Hugging Face's ``T5Attention._relative_position_bucket(j - p)``, computed
    in float32 as there.

    Parameters
    ----------
    table : array_like, shape (num_buckets, H) or (num_buckets,)
        float32 or float64, e.g. the weight of ``relative_attention_bias``.
    bidirectional : bool, default True
        Keys after the query have the upper half of the buckets, as in encoders; False puts them
        all in bucket 0, as in decoders, where they are masked.
    max_distance : int, default 128
        From here on all keys are in the last bucket.

    Attributes
    ----------
    table : ndarray, shape (num_buckets, H)
    bidirectional : bool
    max_distance : int

    Raises
    ------
    ValueError
        The buckets are too few, or not fewer than twice max_distance.
    TypeError
        table is not of real numbers, or max_distance not a whole number.

    References
    ----------
    .. [1] Raffel, C. et al., "Exploring the Limits of Transfer Learning with a Unified
       Text-to-Text Transformer", 2020, section 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> bias = regard.bias.T5(np.arange(8.0), max_distance=16)  # the bias is the bucket's number
    >>> bias.to_dense(1, 9, offset=4)
    array([[[2., 2., 2., 1., 0., 5., 6., 6., 6.]]])
    """

    def __init__(
        self, table: ArrayLike, *, bidirectional: bool = True, max_distance: int = 128
    ) -> None:
        self.table = _table(table, "T5")
        self.bidirectional = bool(bidirectional)
        self.max_distance = _whole(max_distance, "T5: max_distance")
        directions = 2 if bidirectional else 1
        if len(self.table) < 2 * directions or len(self.table) % directions:
            raise ValueError(
                f"T5: table has {len(self.table)} rows.\n  Give one for each bucket: at least "
                f"{2 * directions}{', and an even number' if bidirectional else ''}."
            )
        exact = len(self.table) // directions // 2
        if self.max_distance <= exact:
            raise ValueError(
                f"T5: max_distance is {self.max_distance}.\n  Give more than {exact}, the number "
                "of distances that have a bucket of their own."
            )

    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        return self._bucket(_distances(queries, keys, offset))

    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        # Only as far as the buckets change; rounding may put the last edge behind max_distance.
        distances = np.arange(-2 * self.max_distance, 2 * self.max_distance + 1)
        buckets = self._bucket(distances)
        differs = (buckets != buckets[0]) & (distances < 0)
        differs |= (buckets != buckets[-1]) & (distances > 0)
        reach = int(np.abs(distances[differs]).max(initial=0)) + 1
        within = buckets[np.abs(distances) <= reach]
        return "relative", self.table[within], 0, 0

    def __repr__(self) -> str:
        return (
            f"T5(buckets={self.table.shape[0]}, heads={self.table.shape[1]}, "
            f"bidirectional={self.bidirectional}, max_distance={self.max_distance})"
        )

    def _bucket(self, distance: NDArray[np.int64]) -> NDArray[Any]:
        buckets = len(self.table)
        first: Any = 0
        if self.bidirectional:
            buckets //= 2
            first = np.where(distance > 0, buckets, 0)
            distance = np.abs(distance)
        else:
            distance = np.maximum(-distance, 0)
        exact = buckets // 2
        # A bucket's edge is where this is a whole number: the result depends on every rounding.
        # PyTorch's float32 logarithm is nearly always the rounded one; NumPy's own is less exact.
        ratio = (np.maximum(distance, exact).astype(np.float32) / np.float32(exact)).astype(float)
        log = np.log(ratio).astype(np.float32)
        steps = log / np.float32(np.log(self.max_distance / exact)) * np.float32(buckets - exact)
        far = np.minimum(exact + steps.astype(np.int64), buckets - 1)
        bucket: NDArray[Any] = np.where(distance < exact, distance, far) + first
        return bucket


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
        self.table = _table(table, "Grid")
        self.height = _whole(height, "Grid: height")
        self.width = _whole(width, "Grid: width")
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


def _table(table: ArrayLike, name: str) -> NDArray[Any]:
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


def _distances(queries: int, keys: int, offset: int) -> NDArray[np.int64]:
    return np.arange(keys) - np.arange(queries)[:, np.newaxis] - offset


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(f"{what} is {value!r}.\n  Give a whole number.")
    if value < 1:
        raise ValueError(f"{what} is {value}.\n  Give 1 or more.")
    return int(value)
