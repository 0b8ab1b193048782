"""Ready-made masks, from index arithmetic: tiles that are plainly empty or full are not evaluated.

Query i stands at position p = i + keys - queries, so that the last query is the last key.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regard.masks._block import BlockMask
from regard.masks._store import checked_block_size, checked_integers, checked_shape
from regard.masks._tiling import Index, States, by_tile, states


def causal(queries: int, keys: int, *, block_size: int = 128) -> BlockMask:
    """Let position p see the keys ``j <= p``.

    ``causal=True`` of `regard.attention` says the same without a mask; this one is for combining.

    Parameters
    ----------
    queries, keys : int
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Returns
    -------
    BlockMask
        Of shape (queries, keys).

    Examples
    --------
    >>> import regard
    >>> regard.masks.causal(2, 3).to_dense()
    array([[ True,  True, False],
           [ True,  True,  True]])
    """
    return prefix_lm(queries, keys, 0, block_size=block_size)


def prefix_lm(
    queries: int, keys: int, prefix_lengths: ArrayLike, *, block_size: int = 128
) -> BlockMask:
    """Let position p see ``j <= p``, and all of a prefix: ``j < prefix_length``.

    Parameters
    ----------
    queries, keys : int
    prefix_lengths : int or array_like of int, shape (batch...)
        How many leading keys every query sees, from 0 to keys.
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Returns
    -------
    BlockMask
        Of shape (queries, keys), or (batch..., 1, queries, keys) for an array of lengths.

    Raises
    ------
    TypeError
        prefix_lengths are not integers.
    ValueError
        One is negative or more than keys.

    References
    ----------
    .. [1] Raffel, C. et al., "Exploring the Limits of Transfer Learning with a Unified
       Text-to-Text Transformer", 2020, section 3.2.1.

    Examples
    --------
    >>> import regard
    >>> regard.masks.prefix_lm(3, 3, 2).to_dense()
    array([[ True,  True, False],
           [ True,  True, False],
           [ True,  True,  True]])
    """
    prefixes = checked_integers(prefix_lengths, "prefix_lm: prefix_lengths")
    if ((prefixes < 0) | (prefixes > keys)).any():
        raise ValueError(
            f"prefix_lm: prefix_lengths reach from {prefixes.min()} to {prefixes.max()}.\n"
            f"  Give lengths from 0 to {keys}, the number of keys."
        )
    lead = (*prefixes.shape, 1) if prefixes.ndim else ()
    shape = checked_shape((*lead, queries, keys))
    offset = keys - queries
    prefix = prefixes.ravel()

    def see(element: int, i: Index, j: Index) -> Any:
        return (j <= i + offset) | (j < prefix[element])

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        # Each is an interval of keys from 0: so is their union.
        full = (j1 <= i0 + offset) | (j1 < prefix[element])
        empty = (j0 > i1 + offset) & (j0 >= prefix[element])
        return states(empty, full)

    return BlockMask._evaluate(shape, block_size, see, surely)


def documents(
    segments_q: ArrayLike, segments_k: ArrayLike | None = None, *, block_size: int = 128
) -> BlockMask:
    """Let queries see the keys of their own document, where several share one sequence.

    Parameters
    ----------
    segments_q : array_like of int, shape (Sq,) or (batch..., Sq)
        Number of the document of each query. Fastest where equal numbers lie together.
    segments_k : array_like of int, shape (Sk,) or (batch..., Sk), optional
        The same for the keys; by default segments_q.
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Returns
    -------
    BlockMask
        Of shape (Sq, Sk), or (batch..., 1, Sq, Sk).

    Raises
    ------
    TypeError
        The numbers are not integers.
    ValueError
        The two differ in their batch axes.

    Examples
    --------
    >>> import regard
    >>> regard.masks.documents([7, 7, 2]).to_dense()
    array([[ True,  True, False],
           [ True,  True, False],
           [False, False,  True]])
    """
    ids_q = checked_integers(segments_q, "documents: segments_q")
    ids_k = ids_q if segments_k is None else checked_integers(segments_k, "documents: segments_k")
    if ids_q.ndim == 0 or ids_q.shape[:-1] != ids_k.shape[:-1]:
        raise ValueError(
            f"documents: segments_q has shape {ids_q.shape}, segments_k {ids_k.shape}.\n"
            "  Give (Sq,) and (Sk,), or the same batch axes before them."
        )
    batch = ids_q.shape[:-1]
    shape = (*batch, 1, ids_q.shape[-1], ids_k.shape[-1]) if batch else (ids_q.size, ids_k.size)
    ids_q, ids_k = (ids.reshape(math.prod(batch), ids.shape[-1]) for ids in (ids_q, ids_k))

    size = checked_block_size(block_size)
    lowest, highest = (by_tile(f, ids_k, size) for f in (np.minimum, np.maximum))

    def see(element: int, i: Index, j: Index) -> Any:
        return ids_q[element, i] == ids_k[element, j]

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        rows = ids_q[element, i0 : i1 + 1]
        low, high = rows.min(), rows.max()
        empty = (lowest[element] > high) | (highest[element] < low)
        full = (lowest[element] == low) & (highest[element] == low) & (low == high)
        return states(empty, full)

    return BlockMask._evaluate(shape, block_size, see, surely)
