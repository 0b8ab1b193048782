"""What arrays hold, in float64: bfloat16 widened, int8 scaled, pages gathered."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._bfloat16 import is_bfloat16, narrowed, widened
from regard.reference._shapes import Array


def values(x: ArrayLike) -> Array:
    """Return numbers of any type as float64."""
    a = np.asarray(x)
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return (widened(a) if is_bfloat16(a.dtype) else a).astype(np.float64)


def stored(
    x: ArrayLike, scales: ArrayLike | None = None, block_table: ArrayLike | None = None
) -> Array:
    """Return what keys or values stand for.

    Parameters
    ----------
    x : array_like, shape (..., Hkv, Sk, D); (pages, page_size, Hkv, D) with a block_table
    scales : array_like of float, shape (..., Hkv, Sk); (pages, page_size, Hkv) with a block_table
        Each row of x is multiplied by its scale.
    block_table : array_like of int, shape (..., blocks)
        Key j of element b is row j % page_size of page block_table[b, j // page_size]; -1 is no
        page.

    Returns
    -------
    ndarray of float64, shape (..., Hkv, Sk, D); Sk = blocks * page_size with a block_table
        Rows without a page are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.reference import stored
    >>> pages = np.arange(6).reshape(3, 2, 1, 1)  # three pages of two keys
    >>> stored(pages, block_table=[[2, 0], [1, -1]])[:, 0, :, 0]
    array([[4., 5., 0., 1.],
           [2., 3., 0., 0.]])
    """
    a = values(x)
    if scales is not None:
        with np.errstate(invalid="ignore"):  # 0 * inf, where masks may yet discard it
            a = a * values(scales)[..., np.newaxis]
    if block_table is None:
        return a
    table = pages_of(block_table, len(a))
    gathered = np.zeros((*table.shape, *a.shape[1:]))
    gathered[table >= 0] = a[table[table >= 0]]
    *batch, blocks, page_size, heads, dim = gathered.shape
    rows: Array = gathered.reshape(*batch, blocks * page_size, heads, dim).swapaxes(-3, -2)
    return rows


def pages_of(block_table: ArrayLike, pages: int) -> NDArray[np.int64]:
    """Check that a block table names pages that exist."""
    table = np.asarray(block_table)
    if table.ndim == 0 or table.dtype.kind not in "iu":
        raise ValueError("block_table must be integers (..., blocks)")
    if table.size and not (table.min() >= -1 and table.max() < pages):
        raise ValueError(f"block_table must hold pages 0 .. {pages - 1}, or -1 for none")
    return table.astype(np.int64)


def check_pages(block_table: ArrayLike, key_lengths: ArrayLike | None, page_size: int) -> None:
    """Check that every key that counts has a page."""
    if key_lengths is None:
        raise ValueError("a block_table needs key_lengths")
    table = np.asarray(block_table)
    needed = -(-np.asarray(key_lengths) // page_size)
    if ((table < 0) & (np.arange(table.shape[-1]) < needed[..., np.newaxis])).any():
        raise ValueError("block_table has no page for keys within key_lengths")


def write(out: NDArray[Any], o: Array) -> None:
    """Round an output into an array of any type."""
    out[...] = narrowed(o, out.dtype) if is_bfloat16(out.dtype) else o
