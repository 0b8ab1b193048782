"""LatentKVCache and PagedLatentKVCache: against the oracle, each other, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_same_bits
from regard import positions

LATENT, ROPE, HEADS, BATCH, SCALE = 40, 8, 12, 2, 0.15
DTYPES = ("float32", "float64", "bfloat16", "float16", "int8")
TURN = positions.Rope(interleaved=True)


def make(dtype="float32", **more) -> regard.LatentKVCache:
    sizes = {"batch": BATCH, "latent_dim": LATENT, "rope_dim": ROPE, "capacity": 700}
    return regard.LatentKVCache(**{**sizes, **more}, dtype=dtype)


def paged(dtype="float32", page_size=16) -> regard.PagedLatentKVCache:
    return regard.PagedLatentKVCache(2000 // page_size, page_size, LATENT, ROPE, dtype)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def rows(rng, count, batch=BATCH):
    return normal(rng, batch, count, LATENT), normal(rng, batch, count, ROPE)


def queries(rng, count=1, heads=HEADS, dtype="float32"):
    wide = np.float64 if dtype == "float64" else np.float32
    return [normal(rng, BATCH, heads, count, n).astype(wide) for n in (LATENT, ROPE)]


@pytest.mark.parametrize("heads", [3, HEADS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_against_the_oracle(isa, rng, dtype, heads):
    cache, latent, rope_key = make(dtype), *rows(rng, 650)
    for part in (slice(600), slice(600, 650)):
        cache.append(latent[:, part], rope_key[:, part], TURN)
    query, query_rope = queries(rng, 3, heads, dtype)
    out, lse = cache.attend(query, query_rope, scale=SCALE, return_lse=True)
    turned = positions.rope(query_rope, np.arange(647, 650), interleaved=True)
    whole = np.concatenate((query, turned), axis=-1)
    expected = regard.reference.attention(
        whole, cache.keys(), cache.values(), scale=SCALE, causal=True, return_lse=True
    )
    np.testing.assert_allclose(out, expected[0], atol=1e-5)
    np.testing.assert_allclose(lse, expected[1], atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_stored(rng, dtype):
    cache, latent, rope_key = make(dtype), *rows(rng, 20)
    cache.append(latent, rope_key, TURN)
    turned = positions.rope(rope_key, np.arange(20), interleaved=True)
    whole = np.concatenate((latent, turned), axis=-1)
    close = {"float32": 1e-6, "float64": 1e-6, "bfloat16": 2**-8, "float16": 2**-11, "int8": 0.02}
    np.testing.assert_allclose(cache.keys()[:, 0], whole, rtol=close[dtype], atol=close[dtype])
    np.testing.assert_array_equal(cache.values(), cache.keys()[..., :LATENT])


def test_a_row_is_kept_once():
    sizes = dict(zip(DTYPES, (4, 8, 2, 2, 1), strict=True))
    for dtype, size in sizes.items():
        row = (LATENT + ROPE) * size + (4 if dtype == "int8" else 0)
        for cache, tokens in ((make(dtype), BATCH * 700), (paged(dtype), 2000)):
            assert tokens * row <= cache.nbytes < tokens * row + 128


@pytest.mark.parametrize("page_size", [1, 16, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pages_give_the_same_bits(isa, rng, dtype, page_size):
    cache, pages = make(dtype), paged(dtype, page_size)
    latent, rope_key = rows(rng, 600)
    lengths = np.array([600, 577])
    cache.append(latent, rope_key, TURN, lengths)
    sequences = [pages.allocate() for _ in range(BATCH)]
    packed = [np.concatenate([x[b, :n] for b, n in enumerate(lengths)]) for x in (latent, rope_key)]
    pages.append(sequences, *packed, [0, 600, 1177], rope=TURN)
    query, query_rope = queries(rng, dtype=dtype)
    expected = cache.attend(query, query_rope, scale=SCALE)
    got = pages.attend(sequences, query[:, :, 0], query_rope[:, :, 0], scale=SCALE)
    assert_same_bits(got, np.ascontiguousarray(expected[:, :, 0]))
    assert_same_bits(
        pages.attend(sequences[1], query[1:, :, 0], query_rope[1:, :, 0], scale=SCALE), got[1:]
    )


def test_threads_and_out(isa, rng):
    cache = make()
    cache.append(*rows(rng, 700))
    q = queries(rng)
    expected = cache.attend(*q, scale=SCALE, num_threads=1)
    out = np.full_like(expected, np.nan)
    for threads in (2, 3, 7):
        assert cache.attend(*q, scale=SCALE, num_threads=threads, out=out) is out
        assert_same_bits(out, expected)


def test_other_layouts(rng):
    cache = make()
    cache.append(*rows(rng, 30), TURN)
    query, query_rope = queries(rng, 2)
    theirs = (x.swapaxes(1, 2) for x in (query, query_rope))
    got = cache.attend(*theirs, scale=SCALE, layout="BSHD")
    assert_same_bits(got.swapaxes(1, 2), cache.attend(query, query_rope, scale=SCALE))


def test_a_window_with_sinks(rng):
    """A ring has what the window sees, at positions counted without the gap."""
    cache = make(window=8, sink_tokens=2, capacity=11)
    latent, rope_key = rows(rng, 30)
    for i in range(30):
        cache.append(latent[:, i : i + 1], rope_key[:, i : i + 1], TURN)
    near = make()
    kept = np.r_[0:2, 21:30]
    near.append(latent[:, kept], rope_key[:, kept], TURN)
    q = queries(rng)
    np.testing.assert_allclose(
        cache.attend(*q, scale=SCALE), near.attend(*q, scale=SCALE), atol=1e-5
    )


def test_fork_truncate_and_file(rng, tmp_path):
    nbytes = regard.LatentKVCache.nbytes_for(BATCH, LATENT, ROPE, 700)
    memory = np.memmap(tmp_path / "cache", mode="w+", shape=nbytes)
    cache = make("bfloat16", buffer=memory)
    latent, rope_key = rows(rng, 40)
    cache.append(latent, rope_key, TURN)
    q = queries(rng)
    expected = cache.attend(*q, scale=SCALE)
    opened = regard.LatentKVCache.open(memory)
    assert repr(opened) == repr(cache)
    assert_same_bits(opened.attend(*q, scale=SCALE), expected)
    twin = cache.fork([1, 0])
    twin.append(latent, rope_key)  # by the same rope
    twin.truncate(40)
    assert_same_bits(twin.attend(*(x[::-1] for x in q), scale=SCALE)[::-1], expected)
    with pytest.raises(ValueError, match=r"LatentKVCache\.open"):
        regard.KVCache.open(memory)
    plain = np.zeros(regard.KVCache.nbytes_for(1, 1, 8, 8), np.uint8)
    regard.KVCache(1, 1, 8, 8, buffer=plain)
    with pytest.raises(ValueError, match=r"KVCache\.open"):
        regard.LatentKVCache.open(plain)


def test_forked_sequences_share_pages(rng):
    pages = paged()
    first = pages.allocate()
    latent, rope_key = (x[0] for x in rows(rng, 20))
    pages.append(first, latent, rope_key, rope=TURN)
    before = pages.free_pages
    second = pages.fork(first)
    assert pages.free_pages == before
    pages.append(second, latent[:1], rope_key[:1])
    q = [normal(rng, 1, HEADS, n) for n in (LATENT, ROPE)]
    alone = pages.allocate()
    pages.append(alone, *(np.concatenate((x, x[:1])) for x in (latent, rope_key)))
    assert_same_bits(pages.attend(second, *q, scale=SCALE), pages.attend(alone, *q, scale=SCALE))
    assert pages.length(first) == 20


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


BAD_APPENDS = {
    "latent": (zeros(BATCH, 3, LATENT - 1), zeros(BATCH, 3, ROPE), ValueError),
    "rope_key": (zeros(BATCH, 3, LATENT), zeros(BATCH, 4, ROPE), ValueError),
    "rope_key of": (zeros(BATCH, 3, LATENT), zeros(BATCH, 3, ROPE, dtype=np.float64), TypeError),
    "latent of": (np.full((BATCH, 3, LATENT), 1e6, np.float32), zeros(BATCH, 3, ROPE), ValueError),
    "rope is": (zeros(BATCH, 3, LATENT), zeros(BATCH, 3, ROPE), TypeError),
}


@pytest.mark.parametrize("name", BAD_APPENDS)
def test_bad_appends(name):
    latent, rope_key, error = BAD_APPENDS[name]
    cache = make("float16")
    with pytest.raises(error, match=rf"^append: {name.split()[0]}\b.*\n  "):
        cache.append(latent, rope_key, "turn" if name == "rope is" else None)
    assert cache.lengths.tolist() == [0, 0]
    pages = paged("float16")
    one = pages.allocate()
    with pytest.raises(error, match=rf"^append: {name.split()[0]}\b.*\n  "):
        pages.append(one, latent[0], rope_key[0], rope="turn" if name == "rope is" else None)
    assert pages.length(one) == 0


BAD_CALLS = {
    "scale": ((LATENT, ROPE), {"scale": None}, TypeError),
    "query": ((LATENT + 1, ROPE), {}, ValueError),
    "query_rope": ((LATENT, ROPE + 1), {}, ValueError),
    "key_lengths": ((LATENT, ROPE), {"key_lengths": 3}, TypeError),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls(rng, name):
    dims, more, error = BAD_CALLS[name]
    cache, pages = make(), paged()
    cache.append(*rows(rng, 9))
    one = pages.allocate()
    pages.append(one, *(x[0] for x in rows(rng, 9)))
    options = {"scale": SCALE, **more}
    with pytest.raises(error, match=rf"^attend: {name}\b.*\n  "):
        cache.attend(*(zeros(BATCH, HEADS, 1, n) for n in dims), **options)
    with pytest.raises(error, match=rf"^attend: {name}\b.*\n  "):
        pages.attend(one, *(zeros(1, HEADS, n) for n in dims), **options)
    with pytest.raises(TypeError, match=r"^attend: query_rope\b.*\n  "):
        cache.attend(zeros(BATCH, 2, 1, LATENT), zeros(BATCH, 2, 1, ROPE, dtype="f8"), scale=1.0)


@pytest.mark.parametrize("name", ["latent_dim", "rope_dim", "capacity"])
def test_bad_sizes(name):
    with pytest.raises(ValueError, match=rf"^LatentKVCache: {name} is 0"):
        make(**{name: 0})
    with pytest.raises(TypeError, match=r"LatentKVCache: a cache cannot be pickled"):
        make().__reduce__()
