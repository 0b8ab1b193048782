"""A mask cut into tiles, of which only those that are neither empty nor full have bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.masks._algebra import combine, complement
from regard.masks._packed import as_bool
from regard.masks._picture import picture
from regard.masks._store import Tiles, checked_shape
from regard.masks._tiling import Index, count_ones

# fn(b, h, i, j), index arrays that broadcast against each other
MaskFunction: TypeAlias = Callable[[Index, Index, Index, Index], Any]


class BlockMask(Tiles):
    """A block-sparse mask: tiles of positions, for ``mask=`` of `regard.attention`.

    Tiles that no query sees take neither memory nor time, and tiles seen in full no memory. Make
    one with `from_dense`, `from_function` or the functions of `regard.masks`; combine them with
    ``&`` and ``|``, whose leading axes broadcast, and ``~``.

    Parameters
    ----------
    shape : sequence of int
        (..., Sq, Sk). The leading axes broadcast to (..., Hq).
    indptr, indices, partial : array_like of int
    tiles : array_like of uint8
        The attributes below.
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Attributes
    ----------
    shape : tuple of int
    block_size : int
    indptr : ndarray of int64, shape (prod(lead) * ceil(Sq / block_size) + 1,)
        Row of blocks r, counted through all leading axes in C order, has the tiles
        ``indptr[r]`` to ``indptr[r + 1]``.
    indices : ndarray of int32, shape (tiles not empty,)
        Block column of each tile, ascending in each row of blocks.
    partial : ndarray of int32, shape (tiles not empty,)
        -1 for a tile that is True wherever it lies inside (Sq, Sk); else the number of its bits
        in `tiles`.
    tiles : ndarray of uint8, shape (partial tiles, block_size, block_size // 8)
        Bit ``j % 8`` of byte ``j // 8``, counted from the lowest; 0 outside (Sq, Sk).

    Raises
    ------
    ValueError
        The arrays do not describe a mask of this shape.

    See Also
    --------
    regard.masks : Ready-made masks.
    PackedMask : One bit for each position.

    Notes
    -----
    The arrays are read-only: the compiled core relies on what was checked here.

    Examples
    --------
    >>> import regard
    >>> regard.BlockMask.from_function(
    ...     lambda b, h, i, j: (j <= i) & (i - j < 200), 600, 600, heads=8, block_size=64)
    BlockMask(shape=(8, 600, 600), block_size=64, density=0.2781, blocks=320/800, full=136)
    ▒·········
    █▒········
    ██▒·······
    ▒██▒······
    ▒▒██▒·····
    ·▒▒██▒····
    ··▒▒██▒···
    ···▒▒██▒··
    ····▒▒██▒·
    ·····▒▒██▒
    """

    __array_ufunc__ = None  # NumPy leaves its operators to us, and so raises TypeError
    __hash__ = None  # type: ignore[assignment]  # NumPy's and the sequences' rule for what has ==

    @property
    def ndim(self) -> int:
        """Length of `shape`."""
        return len(self.shape)

    @property
    def density(self) -> float:
        """Share of the positions that are True; 0 if there are none."""
        rows, columns = self._places()
        height, width = self._tiling.inside(rows, columns)
        seen = int((height * width)[self.partial < 0].sum())
        seen += int(count_ones(self.tiles)[self.partial[self.partial >= 0]].sum())
        positions = math.prod(self.shape)
        return seen / positions if positions else 0.0

    @property
    def block_density(self) -> float:
        """Share of the tiles that are not empty; 0 if there are none."""
        tiles = (len(self.indptr) - 1) * self._tiling.key_blocks
        return len(self.indices) / tiles if tiles else 0.0

    @classmethod
    def from_dense(cls, mask: ArrayLike, block_size: int = 128) -> BlockMask:
        """Cut a bool mask into tiles.

        Parameters
        ----------
        mask : array_like of bool, shape (..., Sq, Sk)
            True = attend.
        block_size : int, default 128
            Rows and columns of a tile; a multiple of 16.

        Returns
        -------
        BlockMask

        Raises
        ------
        TypeError
            mask is not bool.
        ValueError
            mask has fewer than two axes, or block_size is no multiple of 16.

        Examples
        --------
        >>> import numpy as np
        >>> import regard
        >>> mask = regard.BlockMask.from_dense(np.tri(40, dtype=bool), block_size=16)
        >>> mask.indptr, mask.indices, mask.partial
        (array([0, 1, 3, 6]), array([0, 0, 1, 0, 1, 2], dtype=int32), \
array([ 0, -1,  1, -1, -1,  2], dtype=int32))
        """
        array = as_bool(mask, "BlockMask.from_dense")
        shape = checked_shape(array.shape)
        elements = array.reshape(math.prod(shape[:-2]), *shape[-2:])
        return cls._evaluate(shape, block_size, lambda e, i, j: elements[e, _span(i), _span(j)])

    @classmethod
    def from_function(
        cls,
        fn: MaskFunction,
        queries: int,
        keys: int,
        *,
        batch: int | Sequence[int] = (),
        heads: int = 1,
        block_size: int = 128,
    ) -> BlockMask:
        """Evaluate a function of the indices, some tiles at a time.

        Parameters
        ----------
        fn : callable
            ``fn(b, h, i, j)`` gets int64 arrays that broadcast against each other: b and h of
            shape (1, 1), query i of (n, 1), key j of (1, m). It returns bool, True = attend, that
            broadcasts to (n, m). With several batch axes b counts through them in C order.
        queries, keys : int
        batch : int or sequence of int, default ()
            Batch axes.
        heads : int, default 1
        block_size : int, default 128
            Rows and columns of a tile; a multiple of 16.

        Returns
        -------
        BlockMask
            Of shape (batch..., heads, queries, keys).

        Raises
        ------
        TypeError
            fn returns something else than bool.
        ValueError
            What it returns does not broadcast, or a size is negative.

        Examples
        --------
        >>> import regard
        >>> mask = regard.BlockMask.from_function(
        ...     lambda b, h, i, j: abs(i - j) <= 2 ** h, 50, 50, heads=3)
        >>> mask.shape, mask.to_dense().sum(axis=(1, 2))
        ((3, 50, 50), array([148, 244, 430]))
        """
        axes = (batch,) if isinstance(batch, (int, np.integer)) else tuple(batch)
        shape = checked_shape((*axes, heads, queries, keys))

        def see(element: int, i: Index, j: Index) -> Any:
            b, h = (np.full((1, 1), n) for n in divmod(element, heads))
            values = np.asarray(fn(b, h, i, j))
            if values.dtype != np.bool_:
                raise TypeError(
                    f"BlockMask.from_function: fn returned {values.dtype}.\n"
                    "  Return bool, True = attend."
                )
            try:
                return np.broadcast_to(values, (i.size, j.size))
            except ValueError:
                raise ValueError(
                    f"BlockMask.from_function: fn returned shape {values.shape} for i of "
                    f"{i.shape} and j of {j.shape}.\n  Return what they broadcast to."
                ) from None

        return cls._evaluate(shape, block_size, see)

    def to_dense(self) -> NDArray[np.bool_]:
        """Write the mask out as a bool array of `shape`.

        Returns
        -------
        ndarray of bool, shape (..., Sq, Sk)

        Examples
        --------
        >>> import regard
        >>> regard.masks.causal(2, 3).to_dense()
        array([[ True,  True, False],
               [ True,  True,  True]])
        """
        queries, keys = self.shape[-2:]
        dense = np.empty((math.prod(self.shape[:-2]), queries, keys), dtype=np.bool_)
        for element in range(len(dense)):
            for first in range(0, queries, self.block_size):
                rows = slice(first, first + self.block_size)
                dense[element, rows] = self._rows(element, first, first + self.block_size)
        return dense.reshape(self.shape)

    def __and__(self, other: BlockMask) -> BlockMask:
        return self._combined(other, "and")

    def __or__(self, other: BlockMask) -> BlockMask:
        return self._combined(other, "or")

    def __invert__(self) -> BlockMask:
        operand = self._operand(self.shape[:-2])
        found = complement(self._tiling, len(self.indptr) - 1, operand)
        return self._assemble(self.shape, self.block_size, found)

    def __eq__(self, other: object) -> bool:
        """Tell whether both mean the same positions, in tiles of whatever size."""
        if not isinstance(other, BlockMask):
            return NotImplemented
        if self.shape != other.shape:
            return False
        step = max(self.block_size, other.block_size)
        return all(
            np.array_equal(
                self._rows(element, first, first + step), other._rows(element, first, first + step)
            )
            for element in range(math.prod(self.shape[:-2]))
            for first in range(0, self.shape[-2], step)
        )

    def __repr__(self) -> str:
        tiles = (len(self.indptr) - 1) * self._tiling.key_blocks
        facts = (
            f"BlockMask(shape={self.shape}, block_size={self.block_size}, "
            f"density={self.density:.4g}, blocks={len(self.indices)}/{tiles}, "
            f"full={np.count_nonzero(self.partial < 0)})"
        )
        return "\n".join((facts, *picture(self._tiling, self.indptr, self.indices, self.partial)))

    def _combined(self, other: BlockMask, how: Literal["and", "or"]) -> BlockMask:
        if not isinstance(other, BlockMask):
            return NotImplemented
        if self.shape[-2:] != other.shape[-2:] or self.block_size != other.block_size:
            raise ValueError(
                "BlockMask: the two masks are cut differently.\n"
                f"  {self.shape} in tiles of {self.block_size}\n"
                f"  {other.shape} in tiles of {other.block_size}\n"
                "  Queries, keys and block_size must match; leading axes broadcast."
            )
        try:
            lead = np.broadcast_shapes(self.shape[:-2], other.shape[:-2])
        except ValueError:
            raise ValueError(
                f"BlockMask: shapes {self.shape} and {other.shape} do not broadcast.\n"
                "  Each leading axis must match or be 1."
            ) from None
        found = combine(self._tiling, self._operand(lead), other._operand(lead), how)
        return self._assemble((*lead, *self.shape[-2:]), self.block_size, found)


def _span(index: Index) -> slice:
    """Slice of neighbouring indices: NumPy gathers far more slowly than it copies."""
    return slice(int(index.flat[0]), int(index.flat[-1]) + 1)
