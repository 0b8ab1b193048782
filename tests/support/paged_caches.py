"""Small `PagedKVCache`s, rows for them, what models give, and whether their books agree."""

from __future__ import annotations

import numpy as np

from cache_model import query_dtype
from regard import PagedKVCache

KV_HEADS, HEADS, DIM, VALUE_DIM, PAGE = 2, 4, 8, 5, 4


def make(dtype="float32", pages=40) -> PagedKVCache:
    return PagedKVCache(pages, PAGE, KV_HEADS, DIM, dtype, value_dim=VALUE_DIM)


def rows(rng, count, dtype="float32"):
    key = rng.standard_normal((count, KV_HEADS, DIM)).astype(dtype)
    return key, rng.standard_normal((count, KV_HEADS, VALUE_DIM)).astype(dtype)


def queries(rng, count, dtype="float32"):
    return rng.standard_normal((count, HEADS, DIM)).astype(dtype)


def cuts(counts):
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def attended(model, query, counts, **options):
    """What models of the sequences give, packed."""
    outs, lses = [], []
    for tokens, part in zip(model, np.split(query, cuts(counts)[1:-1]), strict=True):
        out, lse = tokens.attend(part.swapaxes(0, 1), value_dim=VALUE_DIM, **options)
        outs.append(out.swapaxes(0, 1))
        lses.append(lse)
    return np.concatenate(outs), np.concatenate(lses, axis=1)


def add(rng, cache, handles, model, counts, dtype="float32", **more):
    key, value = rows(rng, sum(counts), query_dtype(dtype))
    cache.append(handles, key, value, cuts(counts), **more)
    for n, tokens in enumerate(model):
        part = slice(*cuts(counts)[n : n + 2])
        tokens.append(key[part].swapaxes(0, 1), value[part].swapaxes(0, 1))


def consistent(cache: PagedKVCache) -> None:
    """Every page is blank, idle or taken, by as many as say so; the table says the same."""
    pages = cache._sequences.pages
    users = [0] * cache.pages
    for one in cache._sequences.by_handle.values():
        assert len(one.pages) == -(-int(cache._sequences.lengths[one.row]) // cache.page_size)
        assert cache._sequences.table[one.row, : len(one.pages)].tolist() == one.pages
        assert (cache._sequences.table[one.row, len(one.pages) :] == -1).all()
        for page in one.pages:
            users[page] += 1
    assert users == pages.users
    unused = {page for page, count in enumerate(users) if not count}
    blank, idle = set(pages._blank), set(pages._idle)
    assert blank | idle == unused
    assert not blank & idle
    assert len(pages._blank) == len(blank)
    assert cache.free_pages == len(unused)
    assert set(pages._names) == set(pages._pages.values())
    assert idle <= set(pages._names)
    assert not blank & set(pages._names)
