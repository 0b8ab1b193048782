"""Keys and values in pages, and the tables that say whose they are.

A cache without pages is one, too: each of its rows is a page as long as the cache, and an element
has one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import index

import numpy as np
import torch
from numpy.typing import NDArray

from regard.flash_attn._shapes import check_pair, check_rank
from regard.flash_attn._tensors import integers

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where the keys of each batch element lie in a cache (pages, page_size, heads, head_dim).

    Parameters
    ----------
    table : ndarray of int64, shape (batch, blocks)
    size : int
        How many keys a page holds.
    before, after : ndarray of int64, shape (batch,)
        How many keys an element has before new ones are written, and after.
    """

    table: Numbers
    size: int
    before: Numbers
    after: Numbers

    def write(self, *pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Put new rows (batch, seqlen_new, heads, head_dim) into caches, in place."""
        at = self.before[:, None] + np.arange(pairs[0][1].shape[1])
        if at.size:
            pages = self.table[np.arange(len(at))[:, None], at // self.size]
            rows = torch.from_numpy(pages), torch.from_numpy(at % self.size)
            for cache, new in pairs:
                cache.detach()[rows] = new

    def right_of(self, function: str, leftpad: torch.Tensor) -> NDArray[np.bool_]:
        """Return a mask that hides the first keys of each element: (batch, 1, 1, keys)."""
        first = integers(function, "cache_leftpad", leftpad, (len(self.table),))
        mask: NDArray[np.bool_] = np.arange(self.table.shape[1] * self.size) >= first[:, None]
        return mask[:, None, None]


def places_in_cache(
    function: str,
    inputs: dict[str, torch.Tensor],
    new: dict[str, torch.Tensor],
    cache_seqlens: int | torch.Tensor | None,
    cache_batch_idx: torch.Tensor | None,
    block_table: torch.Tensor | None,
) -> Places:
    """Check everything that says where keys are read and written.

    Parameters
    ----------
    function : str
    inputs : dict of str to Tensor
        Queries and the two caches, by their names.
    new : dict of str to Tensor
        New keys and values, or empty.
    cache_seqlens, cache_batch_idx, block_table
        As the caller gave them.

    Returns
    -------
    Places

    Raises
    ------
    TypeError, ValueError
    """
    q, k_cache, v_cache = inputs.values()
    batch = q.shape[0]
    paged = block_table is not None
    for name in list(inputs)[1:]:
        front = ("pages", "page_size") if paged else ("batch_cache", "seqlen_cache")
        check_rank(function, name, inputs[name], front)
    check_pair(function, inputs, q, k_cache, v_cache, 0)
    _check_new(function, inputs, new)
    size, added = k_cache.shape[1], new["k"].shape[1] if new else 0
    if block_table is None:
        table = _rows(function, cache_batch_idx, batch, len(k_cache))
    elif cache_batch_idx is not None:
        raise ValueError(
            f"{function}: cache_batch_idx with block_table.\n  Choose rows of the table instead."
        )
    else:
        table = integers(function, "block_table", block_table, (batch, "blocks"))
    room = table.shape[1] * size
    before = _lengths(function, cache_seqlens, batch, room, bool(new))
    after = before + added
    if paged:
        check_table(function, table, len(k_cache), size, after, "cache_seqlens")
    elif after.max(initial=0) > room:
        raise ValueError(
            f"{function}: k_cache has room for {room} keys, and cache_seqlens is {before.max()}"
            f"{f' with {added} new ones' if new else ''}.\n  Give a longer cache."
        )
    return Places(table, size, before, after)


def _check_new(
    function: str, inputs: dict[str, torch.Tensor], new: dict[str, torch.Tensor]
) -> None:
    q, *caches = inputs.values()
    for (name, x), cache in zip(new.items(), caches, strict=False):
        check_rank(function, name, x, ("batch", "seqlen_new"))
        wanted = (q.shape[0], new["k"].shape[1], *cache.shape[2:])
        if x.shape != wanted:
            raise ValueError(
                f"{function}: {name} has shape {tuple(x.shape)}.\n  Give {wanted}: as many as q "
                "has batch elements, with heads and head_dim of the cache."
            )


def _rows(function: str, cache_batch_idx: torch.Tensor | None, batch: int, there: int) -> Numbers:
    """Return the row of a cache without pages that is each element's, as a table."""
    if cache_batch_idx is None:
        if there < batch:
            raise ValueError(
                f"{function}: k_cache has {there} rows for {batch} batch elements.\n  Give a row "
                "for each, or cache_batch_idx."
            )
        return np.arange(batch)[:, None]
    rows = integers(function, "cache_batch_idx", cache_batch_idx, (batch,))
    wrong = rows[(rows < 0) | (rows >= there)]
    if wrong.size:
        raise ValueError(
            f"{function}: cache_batch_idx has {wrong[0]}, and k_cache {there} rows.\n  Rows are "
            "counted from 0."
        )
    return rows[:, None]


def _lengths(
    function: str, cache_seqlens: int | torch.Tensor | None, batch: int, room: int, new: bool
) -> Numbers:
    if cache_seqlens is None:
        if new:
            raise ValueError(
                f"{function}: k and v without cache_seqlens.\n  Say how many keys the cache holds "
                "already."
            )
        return np.full(batch, room)
    if isinstance(cache_seqlens, torch.Tensor):
        lengths = integers(function, "cache_seqlens", cache_seqlens, (batch,))
    else:
        try:
            lengths = np.full(batch, index(cache_seqlens))
        except TypeError:
            raise TypeError(
                f"{function}: cache_seqlens is a {type(cache_seqlens).__name__}.\n  Give an int, "
                "or a tensor of int32 with a number for each batch element."
            ) from None
    if lengths.min(initial=0) < 0:
        raise ValueError(
            f"{function}: cache_seqlens has {lengths.min()}.\n  Lengths are not negative."
        )
    return lengths


def check_table(
    function: str, table: Numbers, pages: int, size: int, lengths: Numbers, of: str
) -> None:
    """Refuse a table that does not lead to all keys, before anything is read through it.

    Parameters
    ----------
    function : str
    table : ndarray of int64, shape (batch, blocks)
    pages, size : int
        How many there are, and how many keys each holds.
    lengths : ndarray of int64, shape (batch,)
        How many keys there are, with those that are about to be written.
    of : str
        The argument that they come from, for messages.

    Raises
    ------
    ValueError
    """
    longest, room = int(lengths.max(initial=0)), table.shape[1] * size
    if longest > room:
        raise ValueError(
            f"{function}: block_table has room for {room} keys, and with {of} there are {longest}."
            f"\n  Give it more blocks of {size}."
        )
    used = np.arange(table.shape[1]) * size < lengths[:, None]
    wrong = table[used & ((table < 0) | (table >= pages))]
    if wrong.size:
        raise ValueError(
            f"{function}: block_table names page {wrong[0]}, and there are {pages}.\n  Pages are "
            "counted from 0."
        )
