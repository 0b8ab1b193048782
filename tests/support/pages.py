"""Keys and values in pages, as a server's memory holds them: in any order, amid rubbish."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems import Problem
from storage_types import rounded

# Pages that belong to nobody.
SPARE = 3


def rubbish(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """What must not be read: NaN, or the largest integers."""
    if dtype.kind in "iu":
        return np.full(shape, np.iinfo(dtype).min, dtype)
    return np.full(shape, rounded(np.nan, dtype)[()])


def block_table(
    rng: np.random.Generator, lengths: Any, page_size: int, *, blocks: int, dtype: Any = np.int32
) -> np.ndarray:
    """Page numbers (batch, blocks) for elements of these lengths, shuffled; -1 is none."""
    used = -(-np.asarray(lengths) // page_size)
    numbers = rng.permutation(int(used.sum()) + SPARE)
    table = np.full((len(used), blocks), -1, dtype)
    for row, n in zip(table, used, strict=True):
        row[:n], numbers = numbers[:n], numbers[n:]
    return table


def into_pages(x: np.ndarray, table: np.ndarray, lengths: Any, page_size: int) -> np.ndarray:
    """(batch, heads, length[, dim]) as (pages, page_size, heads[, dim])."""
    pages = int((table >= 0).sum()) + SPARE
    store = rubbish((pages, page_size, x.shape[1], *x.shape[3:]), x.dtype)
    for b, length in enumerate(lengths):
        for j in range(length):
            store[table[b, j // page_size], j % page_size] = x[b, :, j]
    return store


def paged(
    rng: np.random.Generator, problem: Problem, page_size: int, *, more: int = 0, dtype=np.int32
) -> Problem:
    """The same problem, of shape (batch, heads, ...), from pages; `more` blocks than needed."""
    keys = problem.key.shape[2]
    batch = len(problem.query)
    lengths = np.broadcast_to(problem.options.get("key_lengths", keys), (batch,))
    blocks = -(-keys // page_size) + more
    table = block_table(rng, lengths, page_size, blocks=blocks, dtype=dtype)
    changes = {
        n: into_pages(problem.options[n], table, lengths, page_size)
        for n in ("key_scales", "value_scales")
        if problem.options.get(n) is not None
    }
    for n in ("key", "value"):
        changes[n] = into_pages(getattr(problem, n), table, lengths, page_size)
    return problem.but(block_table=table, key_lengths=lengths.copy(), **changes)
