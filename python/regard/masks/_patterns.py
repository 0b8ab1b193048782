"""Ready-made masks, from index arithmetic: tiles that are plainly empty or full are not evaluated.

Query i stands at position p = i + keys - queries, so that the last query is the last key.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.masks._block import BlockMask
from regard.masks._store import checked_block_size, checked_shape
from regard.masks._tiling import EMPTY, FULL, MIXED, Index, States


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
    prefixes = _integers(prefix_lengths, "prefix_lm: prefix_lengths")
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
        return _states(empty, full)

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
    ids_q = _integers(segments_q, "documents: segments_q")
    ids_k = ids_q if segments_k is None else _integers(segments_k, "documents: segments_k")
    if ids_q.ndim == 0 or ids_q.shape[:-1] != ids_k.shape[:-1]:
        raise ValueError(
            f"documents: segments_q has shape {ids_q.shape}, segments_k {ids_k.shape}.\n"
            "  Give (Sq,) and (Sk,), or the same batch axes before them."
        )
    batch = ids_q.shape[:-1]
    shape = (*batch, 1, ids_q.shape[-1], ids_k.shape[-1]) if batch else (ids_q.size, ids_k.size)
    ids_q, ids_k = (ids.reshape(math.prod(batch), ids.shape[-1]) for ids in (ids_q, ids_k))

    lowest, highest = (_by_tile(f, ids_k, block_size) for f in (np.minimum, np.maximum))

    def see(element: int, i: Index, j: Index) -> Any:
        return ids_q[element, i] == ids_k[element, j]

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        rows = ids_q[element, i0 : i1 + 1]
        low, high = rows.min(), rows.max()
        empty = (lowest[element] > high) | (highest[element] < low)
        full = (lowest[element] == low) & (highest[element] == low) & (low == high)
        return _states(empty, full)

    return BlockMask._evaluate(shape, block_size, see, surely)


def sliding_window_global(
    queries: int, keys: int, window: int, global_tokens: ArrayLike, *, block_size: int = 128
) -> BlockMask:
    """Let queries see the keys near them, and some tokens see all and be seen by all.

    That is ``|p - j| <= window``, or p or j one of the global tokens.

    Parameters
    ----------
    queries, keys : int
    window : int
        How many keys on each side of its own position a query sees.
    global_tokens : int or array_like of int, shape (tokens,)
        The positions of the global tokens; a number n stands for the first n.
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Returns
    -------
    BlockMask
        Of shape (queries, keys).

    Raises
    ------
    TypeError
        global_tokens are not integers.
    ValueError
        window is negative, or a global token is none of the keys.

    References
    ----------
    .. [1] Beltagy, I. et al., "Longformer: The Long-Document Transformer", 2020.

    Examples
    --------
    >>> import regard
    >>> regard.masks.sliding_window_global(4, 4, window=0, global_tokens=[1]).to_dense()
    array([[ True,  True, False, False],
           [ True,  True,  True,  True],
           [False,  True,  True, False],
           [False,  True, False,  True]])
    """
    shape = checked_shape((queries, keys))
    _not_negative(window, "sliding_window_global: window")
    tokens = _integers(global_tokens, "sliding_window_global: global_tokens")
    if tokens.ndim == 0:
        _not_negative(int(tokens), "sliding_window_global: global_tokens")
        tokens = np.arange(min(int(tokens), keys))
    if ((tokens < 0) | (tokens >= keys)).any():
        raise ValueError(
            f"sliding_window_global: global_tokens reach from {tokens.min()} to {tokens.max()}.\n"
            f"  Give positions from 0 to {keys - 1}."
        )
    offset = keys - queries
    key_is_global = np.zeros(keys, dtype=np.bool_)
    key_is_global[tokens] = True
    query_is_global = np.zeros(queries, dtype=np.bool_)
    query_is_global[tokens[tokens >= offset] - offset] = True
    some_global, all_global = (
        _by_tile(f, key_is_global, block_size) for f in (np.logical_or, np.logical_and)
    )

    def see(element: int, i: Index, j: Index) -> Any:
        near = np.abs(i + offset - j) <= window
        return near | query_is_global[i] | key_is_global[j]

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        empty, full = _near(i0 + offset, i1 + offset, j0, j1, window)
        rows = query_is_global[i0 : i1 + 1]
        return _states(empty & ~(some_global | rows.any()), full | all_global | rows.all())

    return BlockMask._evaluate(shape, block_size, see, surely)


def dilated(
    queries: int, keys: int, window: int, dilation: int, *, block_size: int = 128
) -> BlockMask:
    """Let queries see every ``dilation``-th key near them.

    That is ``|p - j| <= window * dilation`` and ``(p - j) % dilation == 0``.

    Parameters
    ----------
    queries, keys : int
    window : int
        How many keys on each side a query sees besides its own.
    dilation : int
        Step from one to the next; at least 1.
    block_size : int, default 128
        Rows and columns of a tile; a multiple of 16.

    Returns
    -------
    BlockMask
        Of shape (queries, keys).

    Raises
    ------
    ValueError
        window is negative or dilation less than 1.

    References
    ----------
    .. [1] Child, R. et al., "Generating Long Sequences with Sparse Transformers", 2019.

    Examples
    --------
    >>> import regard
    >>> regard.masks.dilated(5, 5, window=1, dilation=2).to_dense()[2]
    array([ True, False,  True, False,  True])
    """
    shape = checked_shape((queries, keys))
    _not_negative(window, "dilated: window")
    if dilation < 1:
        raise ValueError(f"dilated: dilation is {dilation}.\n  Give 1 or more.")
    offset = keys - queries

    def see(element: int, i: Index, j: Index) -> Any:
        distance = i + offset - j
        return (np.abs(distance) <= window * dilation) & (distance % dilation == 0)

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        empty, full = _near(i0 + offset, i1 + offset, j0, j1, window * dilation)
        return _states(empty, full & (dilation == 1))

    return BlockMask._evaluate(shape, block_size, see, surely)


def _by_tile(function: np.ufunc, values: NDArray[Any], block_size: int) -> NDArray[Any]:
    """Reduce the last axis over each block of keys."""
    first = np.arange(0, values.shape[-1], checked_block_size(block_size))
    reduced: NDArray[Any] = function.reduceat(values, first, axis=-1)
    return reduced


def _near(
    p0: int, p1: int, j0: Index, j1: Index, reach: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tiles lie outside ``|p - j| <= reach``, and which inside."""
    return (j0 > p1 + reach) | (j1 < p0 - reach), (j1 <= p0 + reach) & (j0 >= p1 - reach)


def _states(empty: NDArray[np.bool_], full: NDArray[np.bool_]) -> States:
    return np.where(full, FULL, np.where(empty, EMPTY, MIXED)).astype(np.int8)


def _integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{what} has dtype {array.dtype}.\n  Give integers.")
    return array.astype(np.int64)


def _not_negative(value: int, what: str) -> None:
    if value < 0:
        raise ValueError(f"{what} is {value}.\n  Give 0 or more.")
