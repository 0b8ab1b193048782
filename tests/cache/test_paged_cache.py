"""`PagedKVCache`: what is attended to is what was appended, whichever pages it is in."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import regard
from cache_model import DTYPES, Tokens, near, query_dtype
from paged_caches import (
    DIM,
    HEADS,
    KV_HEADS,
    PAGE,
    VALUE_DIM,
    add,
    attended,
    consistent,
    cuts,
    make,
    queries,
    rows,
)
from regard import KVCache
from regard.positions import Llama3, Rope


@pytest.mark.parametrize("rope", [None, Rope(dim=6), Rope(50.0, True, scaling=Llama3())])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefill_and_decode_in_one_call(rng, dtype, rope):
    cache = make(dtype)
    handles = [cache.allocate() for _ in range(4)]
    model = [Tokens(dtype, rope) for _ in handles]
    for counts in ([5, 0, 1, 4], [1, 9, 1, 1], [1, 1, 1, 1], [0, 3, 7, 1]):
        add(rng, cache, handles, model, counts, dtype, rope=rope)
        consistent(cache)
        query = queries(rng, sum(counts), query_dtype(dtype))
        got = cache.attend(handles, query, cuts(counts), return_lse=True)
        near(got, attended(model, query, counts))
    assert [cache.length(handle) for handle in handles] == [7, 13, 10, 7]
    some = [handles[2], handles[0]]
    query = queries(rng, 2, query_dtype(dtype))
    near(cache.attend(some, query, return_lse=True), attended([model[2], model[0]], query, [1, 1]))


def test_the_same_as_a_contiguous_cache(rng):
    """The same numbers of the same tokens, by one kernel or another."""
    paged, whole = make("int8"), KVCache(1, KV_HEADS, DIM, 30, "int8", VALUE_DIM)
    handle = paged.allocate()
    key, value = rows(rng, 23)
    paged.append(handle, key, value, rope=Rope())
    whole.append(key.swapaxes(0, 1), value.swapaxes(0, 1), rope=Rope())
    for count in (23, 4, 1):
        query = queries(rng, count)
        np.testing.assert_allclose(
            paged.attend(handle, query).swapaxes(0, 1), whole.attend(query.swapaxes(0, 1)),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip


def test_options_pass(rng):
    cache, model = make(), [Tokens("float32"), Tokens("float32")]
    handles = [cache.allocate(), cache.allocate()]
    counts = [9, 5]
    add(rng, cache, handles, model, counts)
    query = queries(rng, 14)
    for options in (
        {"causal": False},
        {"causal": "upper_left"},
        {"window": (3, 0)},
        {"softcap": 2.0, "sinks": np.zeros(HEADS)},
        {"alibi_slopes": regard.alibi_slopes(HEADS)},
        {"scale": 0.3},
    ):
        got = cache.attend(handles, query, cuts(counts), return_lse=True, **options)
        near(got, attended(model, query, counts, **options))
    mask = rng.random((HEADS, 1, 9)) < 0.7
    got = cache.attend(handles, query, cuts(counts), return_lse=True, mask=mask)
    expected = [
        tokens.attend(part.swapaxes(0, 1), mask=mask[..., : len(tokens)])
        for tokens, part in zip(model, np.split(query, [9]), strict=True)
    ]
    near(got, (
        np.concatenate([out.swapaxes(0, 1) for out, _ in expected]),
        np.concatenate([lse for _, lse in expected], axis=1),
    ))  # fmt: skip
    out = np.empty((14, HEADS, VALUE_DIM), np.float32)
    assert cache.attend(handles, query, cuts(counts), out=out) is out
    near((out,) * 2, (attended(model, query, counts)[0],) * 2)


def test_rope_counts_from_where_queries_stand(rng):
    rope = Rope()
    inside, outside = make(), make()
    key, value = rows(rng, 12)
    a, b = inside.allocate(), outside.allocate()
    inside.append(a, key, value, rope=rope)
    outside.append(b, rope(key.swapaxes(0, 1)).swapaxes(0, 1), value)
    query = queries(rng, 3)
    for options, first in (({}, 9), ({"query_offset": 4}, 4), ({"causal": "upper_left"}, 0)):
        turned = rope(query.swapaxes(0, 1), first + np.arange(3)).swapaxes(0, 1)
        np.testing.assert_array_equal(
            inside.attend(a, query, **options), outside.attend(b, turned, **options)
        )


def test_nothing_to_do(rng):
    cache = make()
    handle = cache.allocate()
    out, lse = cache.attend(handle, queries(rng, 2), causal=False, return_lse=True)
    assert not out.any()
    assert np.isneginf(lse).all()
    assert cache.keys(handle).shape == (0, KV_HEADS, DIM)
    cache.append([], *rows(rng, 0))
    assert cache.attend([], queries(rng, 0)).shape == (0, HEADS, VALUE_DIM)
    cache.append(handle, *rows(rng, 0))
    assert cache.length(handle) == 0
    consistent(cache)


def test_what_a_cache_tells_of_itself():
    cache = make("int8")
    cache.allocate()
    assert repr(cache) == (
        "PagedKVCache(pages=40, page_size=4, kv_heads=2, head_dim=8, dtype='int8', value_dim=5, "
        "sequences=1, free_pages=40)"
    )
    assert 40 * PAGE * KV_HEADS * 21 <= cache.nbytes <= 40 * PAGE * KV_HEADS * 21 + 256
    for how in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            how(cache)
