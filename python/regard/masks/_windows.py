"""Ready-made masks of keys that are near, from index arithmetic.

Query i stands at position p = i + keys - queries, so that the last query is the last key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.masks._block import BlockMask
from regard.masks._store import (
    checked_block_size,
    checked_integers,
    checked_shape,
    refuse_negative,
)
from regard.masks._tiling import Index, States, by_tile, states


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
    refuse_negative(window, "sliding_window_global: window")
    tokens = checked_integers(global_tokens, "sliding_window_global: global_tokens")
    if tokens.ndim == 0:
        refuse_negative(int(tokens), "sliding_window_global: global_tokens")
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
    size = checked_block_size(block_size)
    some_global, all_global = (
        by_tile(f, key_is_global, size) for f in (np.logical_or, np.logical_and)
    )

    def see(element: int, i: Index, j: Index) -> Any:
        near = np.abs(i + offset - j) <= window
        return near | query_is_global[i] | key_is_global[j]

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        empty, full = _near(i0 + offset, i1 + offset, j0, j1, window)
        rows = query_is_global[i0 : i1 + 1]
        return states(empty & ~(some_global | rows.any()), full | all_global | rows.all())

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
    refuse_negative(window, "dilated: window")
    if dilation < 1:
        raise ValueError(f"dilated: dilation is {dilation}.\n  Give 1 or more.")
    offset = keys - queries

    def see(element: int, i: Index, j: Index) -> Any:
        distance = i + offset - j
        return (np.abs(distance) <= window * dilation) & (distance % dilation == 0)

    def surely(element: int, i0: int, i1: int, j0: Index, j1: Index) -> States:
        empty, full = _near(i0 + offset, i1 + offset, j0, j1, window * dilation)
        return states(empty, full & (dilation == 1))

    return BlockMask._evaluate(shape, block_size, see, surely)


def _near(
    p0: int, p1: int, j0: Index, j1: Index, reach: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tiles lie outside ``|p - j| <= reach``, and which inside."""
    return (j0 > p1 + reach) | (j1 < p0 - reach), (j1 <= p0 + reach) & (j0 >= p1 - reach)
