"""The arrays of a `BlockMask`: how they are checked, made, and read."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.masks._algebra import Operand
from regard.masks._tiling import (
    MIXED,
    Bits,
    Index,
    See,
    States,
    Surely,
    Tiling,
    count_ones,
    evaluate,
)

Self = TypeVar("Self", bound="Tiles")

_DTYPES = (np.int64, np.int32, np.int32, np.uint8)


class Tiles:
    """Tiles in compressed rows; `BlockMask` says what each array holds."""

    shape: tuple[int, ...]
    block_size: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    partial: NDArray[np.int32]
    tiles: NDArray[np.uint8]

    def __init__(
        self,
        shape: Sequence[int],
        indptr: ArrayLike,
        indices: ArrayLike,
        partial: ArrayLike,
        tiles: ArrayLike,
        *,
        block_size: int = 128,
    ) -> None:
        self._set(
            checked_shape(shape),
            checked_block_size(block_size),
            *(
                np.array(array, dtype=dtype, order="C")
                for array, dtype in zip((indptr, indices, partial, tiles), _DTYPES, strict=True)
            ),
        )
        self._check()

    def _set(self, shape: tuple[int, ...], block_size: int, *arrays: NDArray[Any]) -> None:
        self.shape = shape
        self.block_size = block_size
        for array in arrays:
            array.flags.writeable = False
        self.indptr, self.indices, self.partial, self.tiles = arrays

    @classmethod
    def _evaluate(
        cls: type[Self],
        shape: tuple[int, ...],
        block_size: int,
        see: See,
        surely: Surely | None = None,
    ) -> Self:
        """Make a mask of what `see` tells; `surely` spares it the tiles that are plain."""
        tiling = Tiling(shape[-2], shape[-1], checked_block_size(block_size))
        return cls._assemble(
            shape, tiling.size, evaluate(math.prod(shape[:-2]), tiling, see, surely)
        )

    @classmethod
    def _assemble(
        cls: type[Self], shape: tuple[int, ...], block_size: int, found: tuple[Index, States, Bits]
    ) -> Self:
        ids, states, bits = found
        tiling = Tiling(shape[-2], shape[-1], block_size)
        rows, columns = np.divmod(ids, max(1, tiling.key_blocks))
        each = np.bincount(rows, minlength=math.prod(shape[:-2]) * tiling.row_blocks)
        mixed = states == MIXED
        mask = cls.__new__(cls)
        mask._set(
            shape,
            block_size,
            np.concatenate(([0], np.cumsum(each))),
            columns.astype(np.int32),
            np.where(mixed, np.cumsum(mixed) - 1, -1).astype(np.int32),
            bits,
        )
        return mask

    def _operand(self, lead: tuple[int, ...]) -> Operand:
        """Tiles of the mask broadcast to other leading axes; their bits are not repeated."""
        own = self.shape[:-2]
        elements = np.broadcast_to(np.arange(math.prod(own)).reshape(own), lead).ravel()
        blocks = self._tiling.row_blocks
        rows = (elements[:, np.newaxis] * blocks + np.arange(blocks)).ravel()
        each = np.diff(self.indptr)[rows]
        # Place in this mask of every tile of the broadcast one: a run for each row of blocks.
        start = np.repeat(self.indptr[rows] - (np.cumsum(each) - each), each)
        place = start + np.arange(len(start))
        ids = np.repeat(np.arange(len(rows)), each) * self._tiling.key_blocks + self.indices[place]
        return ids, self.partial[place], self.tiles

    def _rows(self, element: int, first: int, last: int) -> NDArray[np.bool_]:
        """Rows of one mask, dense."""
        size, blocks = self.block_size, self._tiling.row_blocks
        last = min(last, self.shape[-2])
        numbers = range(first // size, -(-last // size))
        panels = [self._panel(element * blocks + number) for number in numbers]
        at = numbers.start * size
        return np.concatenate(panels)[first - at : last - at, : self.shape[-1]]

    def _panel(self, row: int) -> NDArray[np.bool_]:
        tiles = slice(*self.indptr[row : row + 2])
        columns, numbers = self.indices[tiles], self.partial[tiles]
        mixed = numbers >= 0
        panel = np.zeros((self.block_size, self._tiling.key_blocks, self.block_size), np.bool_)
        panel[:, columns[~mixed]] = True
        bits = np.unpackbits(self.tiles[numbers[mixed]], axis=2, bitorder="little")
        panel[:, columns[mixed]] = bits.transpose(1, 0, 2)
        return panel.reshape(self.block_size, -1)

    @property
    def _tiling(self) -> Tiling:
        return Tiling(self.shape[-2], self.shape[-1], self.block_size)

    def _places(self) -> tuple[Index, Index]:
        """Row and column of each tile in its own mask, in blocks."""
        rows = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        return rows % max(1, self._tiling.row_blocks), self.indices.astype(np.int64)

    def _check(self) -> None:
        """Refuse arrays that no mask has; the core reads memory where they point."""
        tiling = self._tiling
        rows = math.prod(self.shape[:-2]) * tiling.row_blocks
        count = len(self.tiles)
        shapes = {
            "indptr": (self.indptr.shape, (rows + 1,)),
            "partial": (self.partial.shape, self.indices.shape),
            "tiles": (self.tiles.shape, (count, tiling.size, tiling.size // 8)),
        }
        for name, (got, wanted) in shapes.items():
            if got != wanted:
                raise ValueError(
                    f"BlockMask: {name} has shape {got}.\n  Its shape must be {wanted}."
                )
        steps = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or (steps < 0).any():
            raise ValueError(
                f"BlockMask: indptr does not cut the {self.indices.size} indices into rows.\n"
                "  It must start at 0, end at their number and never fall."
            )
        inside = (self.indices >= 0) & (self.indices < tiling.key_blocks)
        row = np.repeat(np.arange(rows), steps)
        if not inside.all() or (np.diff(row * tiling.key_blocks + self.indices) <= 0).any():
            raise ValueError(
                f"BlockMask: indices are not block columns below {tiling.key_blocks}, ascending in "
                "each row of blocks.\n  Sort them, and give each tile once."
            )
        if ((self.partial < -1) | (self.partial >= count)).any():
            raise ValueError(
                f"BlockMask: partial names tiles that are not there.\n  Give -1 for a full tile, "
                f"or a number below {count}."
            )
        mixed = self.partial >= 0
        places = tuple(at[mixed] for at in self._places())
        numbers = self.partial[mixed]
        edge = tiling.at_edge(*places)
        outside = ~tiling.whole(*(at[edge] for at in places))
        height, width = tiling.inside(*places)
        ones = count_ones(self.tiles)[numbers]
        if (
            (ones == 0).any()
            or (ones == height * width).any()
            or (self.tiles[numbers[edge]] & outside).any()
        ):
            raise ValueError(
                "BlockMask: tiles are empty, full, or set outside the mask.\n  Leave empty tiles "
                "out, give full ones as -1 in partial, and clear the bits beyond the last query "
                "and key."
            )


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Make a mask's shape a tuple of int, or say what is wrong with it."""
    if len(shape) < 2 or any(n < 0 for n in shape):
        raise ValueError(
            f"BlockMask: shape is {tuple(shape)}.\n  Give (..., queries, keys), none negative."
        )
    return tuple(int(n) for n in shape)


def checked_block_size(size: Any) -> int:
    """Make a block size an int, or say what is wrong with it."""
    if isinstance(size, bool) or not isinstance(size, (numbers.Integral, np.integer)):
        raise TypeError(f"BlockMask: block_size is {size!r}.\n  Give a multiple of 16.")
    if size <= 0 or size % 16:
        raise ValueError(f"BlockMask: block_size is {size}.\n  Give a multiple of 16.")
    return int(size)


def checked_integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    """Make numbers an array of int64, or say that they are none."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{what} has dtype {array.dtype}.\n  Give integers.")
    return array.astype(np.int64)


def refuse_negative(value: int, what: str) -> None:
    """Say what is negative."""
    if value < 0:
        raise ValueError(f"{what} is {value}.\n  Give 0 or more.")
