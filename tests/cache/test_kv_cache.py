"""`KVCache`: what is attended to is what was appended, rounded to the storage type."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import regard
from cache_model import DTYPES, Tokens, near, query_dtype, stored, widened
from kv_caches import (
    BATCH,
    CAPACITY,
    DIM,
    HEADS,
    KV_HEADS,
    VALUE_DIM,
    attended,
    make,
    queries,
    rows,
)
from regard import KVCache
from regard._bfloat16 import MARKER, carrier
from regard.positions import Linear, Rope


@pytest.mark.parametrize("rope", [None, Rope(dim=6), Rope(50.0, True, scaling=Linear(2.0))])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prompt_then_one_token_after_the_other(rng, dtype, rope):
    cache, model = make(dtype), [Tokens(dtype, rope) for _ in range(BATCH)]
    for count in (7, 1, 1, 4, 1):
        key, value = rows(rng, count, dtype=query_dtype(dtype))
        cache.append(key, value, rope=rope)
        for b, tokens in enumerate(model):
            tokens.append(key[b], value[b])
        query = queries(rng, count, dtype=query_dtype(dtype))
        near(cache.attend(query, return_lse=True), attended(model, query))
    np.testing.assert_array_equal(cache.lengths, [14] * BATCH)


@pytest.mark.parametrize("rope", [None, Rope()])
@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_of_different_lengths(rng, dtype, rope):
    cache, model = make(dtype), [Tokens(dtype, rope) for _ in range(BATCH)]
    for counts in ([5, 2, 0], [1, 1, 1], [0, 3, 4]):
        key, value = rows(rng, max(counts), dtype=query_dtype(dtype))
        cache.append(key, value, rope, lengths=counts)
        query = queries(rng, max(counts), dtype=query_dtype(dtype))
        for b, tokens in enumerate(model):
            tokens.append(key[b, :, : counts[b]], value[b, :, : counts[b]])
        got = cache.attend(query, query_lengths=counts, return_lse=True)
        near(got, attended(model, query, counts))
    np.testing.assert_array_equal(cache.lengths, [6, 6, 5])
    query = queries(rng, 1, dtype=query_dtype(dtype))
    near(cache.attend(query, return_lse=True), attended(model, query))


@pytest.mark.parametrize("source", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_appended_is_rounded_once(rng, dtype, source):
    """From every type to every type; the weights of one key are 1, so the values come out."""
    x = rng.standard_normal((1, 1, 9, VALUE_DIM))
    if source == "bfloat16":
        value = stored(x, "bfloat16")
        given = (value.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        given = given.view(carrier())
    else:
        given = x.astype(source)
        value = given.astype(np.float64)
    for n in range(9):
        cache = KVCache(1, 1, 2, 4, dtype, value_dim=VALUE_DIM)
        cache.append(np.ones((1, 1, 1, 2)), given[:, :, n : n + 1])
        out = cache.attend(np.ones((1, 1, 1, 2), query_dtype(dtype)))
        expected = stored(value if dtype == "float64" else value.astype(np.float32), dtype)
        np.testing.assert_allclose(out, expected[:, :, n : n + 1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "float32"])
@pytest.mark.parametrize("of_query", ["bfloat16", "float16"])
def test_queries_of_half_precision(rng, dtype, of_query):
    cache, model = make(dtype), [Tokens(dtype) for _ in range(BATCH)]
    key, value = rows(rng, 9)
    cache.append(key, value)
    for b, tokens in enumerate(model):
        tokens.append(key[b], value[b])
    query = stored(queries(rng, 4), of_query).astype(np.float32)
    if of_query == "bfloat16":
        given = (query.view(np.uint32) >> 16).astype(np.uint16).view(carrier())
    else:
        given = query.astype(np.float16)
    out = cache.attend(given)
    assert out.dtype == given.dtype
    np.testing.assert_allclose(widened(out), attended(model, query)[0], atol=2e-2)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rope_is_that_of_turning_outside(rng, dtype, interleaved):
    """To the bit, in the prompt and in generation."""
    rope = Rope(1000.0, interleaved)
    inside, outside = make(dtype), make(dtype)
    start = 0
    for count in (9, 1, 1, 3):
        key, value = rows(rng, count, dtype=query_dtype(dtype))
        query = queries(rng, count, dtype=query_dtype(dtype))
        positions = np.arange(start, start + count)
        start += count
        inside.append(key, value, rope=rope if start == 9 else None)
        outside.append(rope(key, positions), value)
        np.testing.assert_array_equal(inside.attend(query), outside.attend(rope(query, positions)))


def test_rope_counts_from_where_queries_stand(rng):
    rope = Rope()
    cache, plain = make(), make()
    key, value = rows(rng, 12)
    cache.append(key, value, rope)
    plain.append(rope(key), value)
    query = queries(rng, 5)
    counts = np.array([5, 3, 1])
    for options, first in (
        ({"query_offset": 4}, 4),
        ({"query_offset": [4, 0, 7]}, [4, 0, 7]),
        ({"causal": "upper_left"}, 0),
        ({"causal": False}, 7),
        ({"query_lengths": counts}, 12 - counts),
    ):
        positions = np.broadcast_to(first, BATCH)[:, None, None] + np.arange(5)
        expected = plain.attend(rope(query, positions), **options)
        np.testing.assert_array_equal(cache.attend(query, **options), expected)


def test_rope_begins_anew_with_an_empty_cache(rng):
    cache = make()
    cache.append(*rows(rng, 3), rope=Rope())
    cache.append(*rows(rng, 1), rope=Rope())  # an equal one is the same
    with pytest.raises(ValueError, match="another one than that of earlier tokens"):
        cache.append(*rows(rng, 1), rope=Rope(5.0))
    cache.truncate(0)
    cache.append(*rows(rng, 1), rope=Rope(5.0))


def test_options_pass(rng):
    cache, model = make(), [Tokens("float32") for _ in range(BATCH)]
    key, value = rows(rng, 11)
    cache.append(key, value)
    for b, tokens in enumerate(model):
        tokens.append(key[b], value[b])
    query = queries(rng, 6)
    mask = rng.random((6, 11)) < 0.7
    for options in (
        {"causal": False},
        {"causal": "upper_left"},
        {"window": (3, 0)},
        {"mask": mask},
        {"softcap": 2.0, "sinks": np.zeros(HEADS)},
        {"alibi_slopes": regard.alibi_slopes(HEADS)},
        {"bias": rng.standard_normal((HEADS, 6, 11)).astype(np.float32)},
        {"scale": 0.3, "num_threads": 1},
    ):
        expected = attended(
            model, query, **{k: v for k, v in options.items() if k != "num_threads"}
        )
        near(cache.attend(query, return_lse=True, **options), expected)
    out = np.empty((BATCH, HEADS, 6, VALUE_DIM), np.float32)
    assert cache.attend(query, out=out) is out
    near((out, out), (attended(model, query)[0],) * 2)


def test_a_query_in_the_middle_sees_no_later_token(rng):
    cache = make()
    key, value = rows(rng, 8)
    cache.append(key, value)
    query = queries(rng, 1)
    expected = regard.attention(query, key[:, :, :4], value[:, :, :4])
    near((cache.attend(query, query_offset=3),) * 2, (expected,) * 2)


def test_a_batch_of_one_needs_no_batch_axis(rng):
    flat, full = make(batch=1), make(batch=1)
    key, value = rows(rng, 6, batch=1)
    flat.append(key[0], value[0], Rope())
    full.append(key, value, Rope())
    query = queries(rng, 6, batch=1)
    np.testing.assert_array_equal(flat.attend(query[0]), full.attend(query)[0])
    np.testing.assert_array_equal(
        flat.attend(query[0], query_offset=2), full.attend(query, query_offset=2)[0]
    )


def test_lists_and_integers(rng):
    cache = KVCache(1, 1, 2, 4, "float64")
    cache.append([[[1, 2]]], [[[3, 4]]])
    np.testing.assert_array_equal(cache.attend([[[1, 0]]]), [[[3, 4]]])


def test_nothing_is_allocated_by_appending(rng):
    cache = make()
    before = cache._state.storage.keys
    for _ in range(CAPACITY):
        cache.append(*rows(rng, 1))
    assert cache._state.storage.keys is before


def test_truncate_then_append_again(rng):
    cache, model = make(), [Tokens("float32") for _ in range(BATCH)]

    def add(count):
        key, value = rows(rng, count)
        cache.append(key, value)
        for b, tokens in enumerate(model):
            tokens.append(key[b], value[b])

    add(9)
    for kept in (9, 6, [4, 6, 0], np.array([4, 1, 0]), 0):
        cache.truncate(kept)
        for length, tokens in zip(np.broadcast_to(kept, BATCH), model, strict=True):
            tokens.truncate(int(length))
        np.testing.assert_array_equal(cache.lengths, [len(tokens) for tokens in model])
        add(3)
        query = queries(rng, 3)
        near(cache.attend(query, return_lse=True), attended(model, query))


def test_forks_go_their_own_ways(rng):
    cache = make("int8")
    cache.append(*rows(rng, 7), Rope(), lengths=[7, 3, 5])
    query = queries(rng, 1)
    before = cache.attend(query)
    twin, chosen = cache.fork(), cache.fork([2, 0, 0, 1])
    np.testing.assert_array_equal(twin.attend(query), before)
    np.testing.assert_array_equal(chosen.lengths, [5, 7, 7, 3])
    # The same tokens and the same query, wherever they are in the batch.
    np.testing.assert_array_equal(chosen.attend(query[[2, 0, 0, 1]]), before[[2, 0, 0, 1]])
    twin.append(*rows(rng, 2))
    chosen.truncate(1)
    np.testing.assert_array_equal(cache.attend(query), before)
    np.testing.assert_array_equal(cache.lengths, [7, 3, 5])
    with pytest.raises(ValueError, match="another one"):  # a fork has its rope from its origin
        twin.append(*rows(rng, 1), Rope(3.0))


def test_queries_that_stand_nowhere_by_themselves_may_see_nothing(rng):
    for options in (
        {"causal": False}, {"query_offset": 0}, {"causal": "upper_left"},
        {"query_lengths": [0] * BATCH},
    ):  # fmt: skip
        out, lse = make().attend(queries(rng, 2), return_lse=True, **options)
        assert not out.any()
        assert np.isneginf(lse).all()


def test_what_lies_behind_the_length_does_not_matter(rng):
    cache = make("float16")
    cache.append(*rows(rng, 4), lengths=[4, 2, 0])
    query, counts = queries(rng, 2), [2, 2, 0]
    expected = cache.attend(query, query_lengths=counts)
    storage = cache._state.storage
    for b, length in enumerate([4, 2, 0]):
        storage.keys[b, :, length:] = np.nan
        storage.values[b, :, length:] = np.inf
    np.testing.assert_array_equal(cache.attend(query, query_lengths=counts), expected)
    for numbers in (cache.keys(), cache.values()):
        assert np.isfinite(numbers).all()


def test_threads_may_attend_together(rng):
    cache = make()
    cache.append(*rows(rng, 15), Rope())
    query = queries(rng, 3)
    expected = cache.attend(query)
    wrong = []

    def work():
        for _ in range(50):
            if not np.array_equal(cache.attend(query), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_a_cache_tells_of_itself():
    cache = make("bfloat16", window=5, sink_tokens=2)
    assert (cache.batch, cache.kv_heads, cache.head_dim) == (BATCH, KV_HEADS, DIM)
    assert (cache.value_dim, cache.capacity, cache.dtype) == (VALUE_DIM, CAPACITY, "bfloat16")
    assert (cache.window, cache.sink_tokens) == (5, 2)
    assert (
        BATCH * KV_HEADS * CAPACITY * 26 <= cache.nbytes <= BATCH * KV_HEADS * CAPACITY * 26 + 128
    )
    assert repr(cache) == (
        "KVCache(batch=3, kv_heads=2, head_dim=8, capacity=20, dtype='bfloat16', value_dim=5, "
        "window=5, sink_tokens=2, lengths=[0, 0, 0])"
    )
    cache.lengths[:] = 7  # a copy
    np.testing.assert_array_equal(cache.lengths, [0, 0, 0])
    for dtype, name in (
        (np.float32, "float32"), (np.dtype("float16"), "float16"), (carrier(), "bfloat16"),
        (MARKER, "bfloat16"), ("int8", "int8"),
    ):  # fmt: skip
        assert make(dtype).dtype == name
