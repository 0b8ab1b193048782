"""Packed arrays: whose rows are whose, and the numbers of their tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def token_numbers(tokens: ArrayLike, call: str, total: int | None = None) -> NDArray[np.int64]:
    array = np.asarray(tokens)
    if not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{call}: tokens has dtype {array.dtype}.\n  Give integers.")
    if array.ndim != 1 or (total is not None and len(array) != total):
        wanted = "a 1-D array" if total is None else f"one for each of the {total} keys"
        raise ValueError(f"{call}: tokens has shape {array.shape}.\n  Give {wanted}.")
    return array.astype(np.int64)


def pieces_of(
    cu_seqlens: ArrayLike | None, total: int, pieces: int, what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each piece of a packed array starts, and how long it is."""
    if cu_seqlens is None:
        if total % max(pieces, 1) or (total and not pieces):
            raise ValueError(
                f"{what} is needed for {total} rows and {pieces} sequences.\n  Only where each has "
                "the same number can it be left out."
            )
        count = total // max(pieces, 1)
        return count * np.arange(pieces), np.full(pieces, count)
    cu = np.asarray(cu_seqlens)
    if cu.dtype.kind not in "iu":
        raise TypeError(f"{what} has dtype {cu.dtype}.\n  Give integers.")
    cu = cu.astype(np.int64)
    if cu.shape != (pieces + 1,) or cu[0] != 0 or cu[-1] != total or (np.diff(cu) < 0).any():
        raise ValueError(
            f"{what} is {cu.tolist()}, for {total} rows and {pieces} sequences.\n  Give "
            f"{pieces + 1} numbers that begin at 0, never fall, and end at {total}."
        )
    return cu[:-1], np.diff(cu)
