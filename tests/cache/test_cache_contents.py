"""What is in a cache can be counted, read back and cleared."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from cache_model import stored
from file_caches import SIZES, zeros
from kv_caches import BATCH, DIM, KV_HEADS, VALUE_DIM, make, queries, rows
from paged_caches import consistent
from paged_caches import make as make_paged
from regard import KVCache
from regard.positions import Rope

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_stored_numbers_come_back(rng, dtype):
    cache, (key, value) = make(dtype), rows(rng, 6)
    cache.append(key, value)
    for got, given, dim in ((cache.keys(), key, DIM), (cache.values(), value, VALUE_DIM)):
        assert got.shape == (BATCH, KV_HEADS, 6, dim)
        assert got.dtype == (np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_allclose(got, stored(given, dtype), rtol=1e-6)
        got[...] = np.nan  # a copy
    assert np.isfinite(cache.keys()).all()


def test_attention_to_what_comes_back_is_that_of_the_cache(rng):
    cache, rope = make("int8"), Rope()
    cache.append(*rows(rng, 6), rope)
    query = queries(rng, 2)
    turned = rope(query, [4, 5])
    expected = regard.attention(turned, cache.keys(), cache.values(), causal=True)
    np.testing.assert_allclose(cache.attend(query), expected, rtol=1e-5, atol=1e-6)


def test_zeros_stand_behind_shorter_elements(rng):
    cache, (key, value) = make(), rows(rng, 5)
    cache.append(key, value, lengths=[2, 5, 0])
    for got, given in ((cache.keys(), key), (cache.values(), value)):
        assert got.shape[2] == 5
        for element, length in enumerate(cache.lengths):
            np.testing.assert_array_equal(got[element, :, :length], given[element, :, :length])
            assert not got[element, :, length:].any()


@pytest.mark.parametrize("count", [1, 5, 11, 12, 40])
def test_a_ring_gives_sinks_and_the_last_tokens(rng, count):
    cache = KVCache(1, 1, 1, 11, "float32", window=4, sink_tokens=3)  # 8 slots behind the sinks
    numbers = np.arange(1.0, count + 1).reshape(1, 1, count, 1)
    for token in range(count):
        cache.append(numbers[:, :, token : token + 1], -numbers[:, :, token : token + 1])
    expected = [*range(1, min(count, 3) + 1), *range(max(4, count - 7), count + 1)]
    assert cache.keys().ravel().tolist() == expected
    assert (-cache.values()).ravel().tolist() == expected
    assert cache.lengths == count


def test_empty_caches_have_no_tokens():
    for cache in (make(), make("int8", window=3)):
        assert cache.keys().shape == (BATCH, KV_HEADS, 0, DIM)
        assert cache.values().shape == (BATCH, KV_HEADS, 0, VALUE_DIM)


def test_pages_of_a_sequence_come_back(rng):
    cache = make_paged("bfloat16")
    first, second = cache.allocate(), cache.allocate()
    key, value = (rng.standard_normal((13, KV_HEADS, d), dtype=np.float32) for d in (8, 5))
    cache.append([first, second], key[:9], value[:9], [0, 3, 9])
    cache.append([first, second], key[9:], value[9:], [0, 3, 4])  # over the edges of pages
    at = {first: [0, 1, 2, 9, 10, 11], second: [3, 4, 5, 6, 7, 8, 12]}
    for handle, tokens in at.items():
        np.testing.assert_allclose(cache.keys(handle), stored(key[tokens], "bfloat16"))
        np.testing.assert_allclose(cache.values(handle), stored(value[tokens], "bfloat16"))
    assert cache.lengths == {first: 6, second: 7}
    cache.free(first)
    assert cache.lengths == {second: 7}


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_cleared_cache_is_as_new(rng, window, ragged):
    cache, new = (make("int8", window=window, buffer=None) for _ in range(2))
    cache.append(*rows(rng, 20), Rope())
    if ragged and window is None:
        cache.truncate([3, 20, 0])
    cache.clear()
    assert not cache.lengths.any()
    assert repr(cache) == repr(new)
    again = rows(rng, 7)
    query = queries(rng, 1)
    for one in (cache, new):  # without the rope that there was
        one.append(*again)
    np.testing.assert_array_equal(cache.keys(), new.keys())
    np.testing.assert_array_equal(cache.attend(query), new.attend(query))


def test_a_cleared_file_is_empty(rng):
    buffer = zeros(dtype="float32")
    cache = KVCache(**SIZES, dtype="float32", buffer=buffer)
    key, value = rng.standard_normal((2, 2, 3, 8)), rng.standard_normal((2, 2, 3, 6))
    cache.append(key, value, Rope())
    read_only = buffer.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="clear: the buffer of the cache is read-only"):
        KVCache.open(read_only).clear()
    cache.clear()
    again = KVCache.open(buffer)
    assert again.lengths.tolist() == [0, 0]
    again.append(key, value)
    np.testing.assert_array_equal(again.keys(), key.astype(np.float32))


def test_cleared_pages_are_free_and_their_texts_forgotten(rng):
    cache = make_paged()
    text = np.arange(10)
    key, value = (rng.standard_normal((10, KV_HEADS, d), dtype=np.float32) for d in (8, 5))
    handles = [cache.allocate(text), cache.allocate()]
    cache.append(handles[0], key, value, tokens=text, rope=Rope())
    fork = cache.fork(handles[0])
    cache.clear()
    consistent(cache)
    assert cache.free_pages == cache.pages
    assert cache.lengths == {}
    for handle in (*handles, fork):
        with pytest.raises(ValueError, match=f"length: sequence is {handle}"):
            cache.length(handle)
    new = cache.allocate(text)
    assert new not in (*handles, fork)
    assert cache.length(new) == 0
    cache.append(new, key, value)
    np.testing.assert_array_equal(cache.keys(new), key)
    consistent(cache)
