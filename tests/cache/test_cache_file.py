"""`KVCache` in a buffer: it survives its process, and says what is wrong with a bad file."""

from __future__ import annotations

import numpy as np
import pytest

from cache_model import DTYPES, query_dtype
from file_caches import SIZES, rows, zeros
from regard import KVCache
from regard.positions import Rope, YaRN


@pytest.mark.parametrize("more", [{}, {"window": 5, "sink_tokens": 2}], ids=["plain", "ring"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reopens_with_its_tokens(tmp_path, rng, dtype, more):
    sizes = {**SIZES, "dtype": dtype, **more}
    path, size = tmp_path / "cache", KVCache.nbytes_for(**sizes)
    rope = Rope(500.0, scaling=YaRN(4.0, 16), dim=6)
    plain = KVCache(**sizes)
    cache = KVCache(**sizes, buffer=np.memmap(path, mode="w+", shape=size))
    steps = ([3, 2], [2, 2], [0, 1], [1, 1], [5, 4])
    query = rng.standard_normal((2, 4, 1, 8)).astype(query_dtype(dtype))
    for step, counts in enumerate(steps):
        key, value = rows(rng, max(counts))
        for each in (plain, cache):
            each.append(key, value, rope if step == 0 else None, lengths=counts)
        expected = plain.attend(query, return_lse=True)
        cache.flush()
        del cache
        assert path.stat().st_size == size
        again = np.memmap(path, mode="r+")
        cache = KVCache.open(again) if step % 2 else KVCache(**sizes, buffer=again)
        np.testing.assert_array_equal(cache.lengths, plain.lengths)
        np.testing.assert_equal(cache.attend(query, return_lse=True), expected)
        with pytest.raises(ValueError, match="another one than that"):
            cache.append(key[:, :, :1], value[:, :, :1], Rope(500.0))
        cache.append(key[:, :, :0], value[:, :, :0], rope)  # this is the one
    kept = plain.lengths - (0 if more else np.array([3, 1]))
    for each in (plain, cache):
        each.truncate(kept)
    np.testing.assert_array_equal(KVCache.open(np.memmap(path)).lengths, plain.lengths)
    assert repr(KVCache.open(np.memmap(path))) == repr(plain)


def test_a_buffer_is_a_cache_like_any_other(rng):
    buffer = zeros()
    inside, plain = KVCache(**SIZES, buffer=buffer), KVCache(**SIZES)
    for cache in (inside, plain):
        cache.append(*rows(np.random.default_rng(1), 5))
        cache.flush()
    query = rng.standard_normal((2, 4, 3, 8)).astype(np.float32)
    np.testing.assert_array_equal(inside.attend(query), plain.attend(query))
    copy = inside.fork(buffer=zeros())
    elsewhere = inside.fork([1], buffer=np.zeros(KVCache.nbytes_for(**{**SIZES, "batch": 1}), "u1"))
    inside.truncate(0)
    np.testing.assert_array_equal(copy.attend(query), plain.attend(query))
    np.testing.assert_array_equal(elsewhere.attend(query[1:]), plain.attend(query)[1:])
    assert buffer[-500:].any() or buffer[5000:].any()


def test_a_larger_buffer_will_do(rng):
    buffer = np.zeros(zeros().size + 100, np.uint8)
    KVCache(**SIZES, buffer=buffer).append(*rows(rng, 5))
    assert KVCache.open(buffer).lengths.tolist() == [5, 5]
    assert not buffer[-100:].any()


def test_without_rope_after_one(rng):
    """What an emptied cache knew of its keys does not count when it is filled again."""
    buffer = zeros()
    cache = KVCache(**SIZES, buffer=buffer)
    cache.append(*rows(rng, 2), Rope())
    cache.truncate(0)
    again = KVCache.open(buffer)
    again.append(*rows(rng, 2))
    with pytest.raises(ValueError, match="appended without it"):
        KVCache.open(buffer).append(*rows(rng, 1), Rope())


def test_read_only(tmp_path, rng):
    path = tmp_path / "cache"
    key, value = rows(rng, 4)
    cache = KVCache(**SIZES, buffer=np.memmap(path, mode="w+", shape=zeros().size))
    cache.append(key, value)
    before = path.read_bytes()
    query = rng.standard_normal((2, 4, 1, 8)).astype(np.float32)
    reader = KVCache.open(np.memmap(path, mode="r"))
    np.testing.assert_array_equal(reader.attend(query), cache.attend(query))
    for call, change in (
        ("append", lambda: reader.append(key, value)),
        ("truncate", lambda: reader.truncate(1)),
    ):
        with pytest.raises(ValueError, match=rf"{call}: the buffer of the cache is read-only"):
            change()
    assert path.read_bytes() == before
    reader.fork().append(key, value)
    empty = zeros()
    empty.flags.writeable = False
    with pytest.raises(ValueError, match="buffer is read-only and holds no cache"):
        KVCache(**SIZES, buffer=empty)


@pytest.mark.parametrize("name", ["batch", "kv_heads", "head_dim", "capacity", "value_dim"])
@pytest.mark.parametrize("by", [-1, 1])
def test_other_sizes(name, by):
    buffer = zeros()
    KVCache(**SIZES, buffer=buffer)
    with pytest.raises(ValueError, match=f"(?s)holds a cache with {name}={SIZES[name]}, not.*open"):
        KVCache(**{**SIZES, name: SIZES[name] + by}, buffer=buffer)


def test_other_types_and_windows():
    buffer = zeros()
    KVCache(**SIZES, buffer=buffer)
    for more, message in (
        ({"dtype": "float16"}, "dtype='bfloat16', not 'float16'"),
        ({"window": 3}, "window=None, not 3"),
        ({"window": 3, "sink_tokens": 1}, "window=None, not 3; sink_tokens=0, not 1"),
    ):
        with pytest.raises(ValueError, match=message):
            KVCache(**SIZES, **more, buffer=buffer)


WRONG = {
    "list": (TypeError, [0] * 10_000, "buffer is of list"),
    "floats": (TypeError, np.zeros(10_000), "buffer is of float64"),
    "axes": (ValueError, np.zeros((2, 10_000), np.uint8), r"buffer has shape \(2, 10000\)"),
    "gaps": (ValueError, np.zeros(20_000, np.uint8)[::2], r"strides \(2,\)"),
    "odd": (ValueError, np.zeros(20_001, np.uint8)[1:], "begins at a multiple of 8 bytes"),
    "small": (ValueError, zeros()[:-8], "this cache needs 5"),
    "none": (ValueError, zeros()[:0], "buffer has 0 bytes"),
    "foreign": (ValueError, np.full(10_000, 7, np.uint8), "holds no cache of regard"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_buffers(what):
    error, buffer, message = WRONG[what]
    with pytest.raises(error, match=f"(?s)KVCache: .*{message}"):
        KVCache(**SIZES, buffer=buffer)
    if what not in ("small", "none"):
        with pytest.raises(error, match=r"KVCache\.open: "):
            KVCache.open(buffer)


def test_open_needs_a_cache():
    for buffer in (zeros(), zeros()[:20], zeros()[:0]):
        with pytest.raises(ValueError, match="holds no cache of regard: its beginning is empty"):
            KVCache.open(buffer)


def test_other_formats():
    buffer = zeros()
    KVCache(**SIZES, buffer=buffer)
    buffer[8] = 2
    with pytest.raises(ValueError, match=r"a cache of format 2.\n.*reads format 1"):
        KVCache.open(buffer)


def test_forks_need_an_empty_buffer(rng):
    buffer = zeros()
    cache = KVCache(**SIZES, buffer=buffer)
    cache.append(*rows(rng, 2))
    with pytest.raises(ValueError, match=r"fork: buffer holds a cache of \[2, 2\] tokens"):
        cache.fork(buffer=buffer.copy())
