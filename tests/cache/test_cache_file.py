"""`KVCache` in a buffer: it survives its process, and says what is wrong with a bad file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from cache_model import DTYPES, query_dtype
from regard import KVCache
from regard.cache import _file
from regard.positions import Rope, YaRN

SIZES = {"batch": 2, "kv_heads": 2, "head_dim": 8, "capacity": 12, "value_dim": 6}


def zeros(**more) -> np.ndarray:
    return np.zeros(KVCache.nbytes_for(**{**SIZES, **more}), np.uint8)


def rows(rng, count):
    key = rng.standard_normal((2, 2, count, 8)).astype(np.float32)
    return key, rng.standard_normal((2, 2, count, 6)).astype(np.float32)


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


@pytest.mark.parametrize("more", [{}, {"window": 3, "sink_tokens": 1}], ids=["plain", "ring"])
def test_truncated_anywhere(rng, more):
    buffer = zeros(**more)
    KVCache(**SIZES, **more, buffer=buffer).append(*rows(rng, 3), Rope())
    for size in [*range(0, 400, 8), *range(400, buffer.size, 264)]:
        with pytest.raises(ValueError, match=r"buffer (has|holds)"):
            KVCache.open(buffer[:size].copy())
        with pytest.raises(ValueError, match=r"buffer (has|holds)"):
            KVCache(**SIZES, **more, buffer=buffer[:size].copy())


@pytest.mark.parametrize("more", [{}, {"window": 3, "sink_tokens": 1}], ids=["plain", "ring"])
def test_no_flipped_bit_goes_unnoticed(rng, more):
    """All bits of the header that are in use; each is noticed, whatever it says."""
    buffer = zeros(**more)
    cache = KVCache(**SIZES, **more, buffer=buffer)
    cache.append(*rows(rng, 5), Rope(), lengths=[5, 4])
    layout = cache._state.layout
    used = [
        *range(_file._FIELDS.size + 4),
        *range(128, 128 + 4 + _file._ROTATION.size + 8 * 4),
        *range(layout.lengths_at, layout.lengths_at + (32 if more else 16)),
    ]
    for byte in used:
        for bit in range(8):
            buffer[byte] ^= 1 << bit
            with pytest.raises(ValueError, match=r"damaged|holds no cache|cache of format"):
                KVCache.open(buffer)
            buffer[byte] ^= 1 << bit
    assert KVCache.open(buffer).lengths.tolist() == [5, 4]


def test_absurd_numbers_with_a_good_checksum():
    """Sizes that no buffer has are an error, not an allocation; so are lengths past the end."""
    import zlib

    buffer = zeros()
    KVCache(**SIZES, buffer=buffer)
    layout = KVCache.open(buffer)._state.layout
    for place in (16, 24, 32, 48):  # batch, kv_heads, head_dim, capacity
        bad = buffer.copy()
        bad[place : place + 8].view("<i8")[:] = 2**62
        checksum = zlib.crc32(bad[: _file._FIELDS.size].tobytes())
        bad[_file._FIELDS.size : _file._FIELDS.size + 4].view("<u4")[:] = checksum
        with pytest.raises(ValueError, match="shortened"):
            KVCache.open(bad)
    bad = buffer.copy()
    words = bad[layout.lengths_at : layout.lengths_at + 16].view("<u8")
    words[:] = _file._sealed(np.array([3, SIZES["capacity"] + 1]))
    with pytest.raises(ValueError, match="its lengths do not match"):
        KVCache.open(bad)


def test_every_length_has_its_own_seal():
    lengths = np.r_[np.arange(100), 2 ** np.arange(48) - 1]
    words = _file._sealed(lengths)
    np.testing.assert_array_equal(_file._unsealed(words), lengths)
    for bit in range(64):
        for word in words ^ np.uint64(1 << bit):
            assert _file._unsealed(np.array([word])) is None


def test_a_ring_that_was_about_to_be_overwritten(rng):
    """A process that dies in an append leaves what it was about to overwrite unknown."""
    more = {"window": 3, "sink_tokens": 1}
    buffer = zeros(**more)
    cache = KVCache(**SIZES, **more, buffer=buffer)
    cache.append(*rows(rng, 12))
    cache._state.set_highest(cache.lengths + 10)
    cache = KVCache.open(buffer)
    assert cache.lengths.tolist() == [12, 12]
    query = np.zeros((2, 2, 1, 8), np.float32)
    with pytest.raises(ValueError, match=r"sees back to token 8, but those before 11 have been"):
        cache.attend(query)
    with pytest.raises(ValueError, match=r"those before 11 have been overwritten"):
        cache.truncate(11)
    cache.truncate(12)  # nothing to do
    for length in (13, 14):
        cache.append(*rows(rng, 1))
        with pytest.raises(ValueError, match="have been overwritten"):
            cache.attend(query)
        assert cache.lengths.tolist() == [length, length]
    cache.append(*rows(rng, 1))  # whose window begins at 11
    cache.attend(query)


CHILD = """
    import sys
    import numpy as np
    from regard import KVCache
    path, window = sys.argv[1], eval(sys.argv[2])
    cache = KVCache.open(np.memmap(path, mode="r+"))
    print("ready", flush=True)
    while True:
        # Token t of element b is t + b everywhere.
        length = cache.lengths
        tokens = (length[:, None] + np.arange(3) + np.arange(2)[:, None]).astype(np.float32)
        rows = np.broadcast_to(tokens[:, None, :, None], (2, 2, 3, 512))
        if window is None and length.max() + 3 > cache.capacity:
            kept = np.maximum(length - 200, 1)
            cache.truncate(kept)
            for b in range(2):  # so that what is there was written by this append
                cache._state.storage.keys[b, :, kept[b] :] = np.nan
                cache._state.storage.values[b, :, kept[b] :] = np.nan
        else:
            cache.append(rows, rows, lengths=[3, 2])
"""


@pytest.mark.parametrize("window", [None, 20])
def test_killed_while_it_appends(tmp_path, window):
    """The tokens that count are whole, and no more is missing than what was being appended."""
    path = tmp_path / "cache"
    sizes = {"batch": 2, "kv_heads": 2, "head_dim": 512, "capacity": 400, "dtype": "float32"}
    sizes |= {"window": window, "sink_tokens": 2 if window else 0}
    KVCache(**sizes, buffer=np.memmap(path, mode="w+", shape=KVCache.nbytes_for(**sizes)))
    waits = np.random.default_rng(5)
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, script, path, str(window)], stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"ready\n"
            # Long enough for some thousands of appends, and never twice the same.
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(waits.uniform(0.01, 0.1))
            child.send_signal(signal.SIGKILL)
            child.wait()
        cache = KVCache.open(np.memmap(path, mode="r+"))
        state = cache._state
        for b, length in enumerate(cache.lengths.tolist()):
            assert length > 0
            if state.ring is None:
                slots = tokens = np.arange(length)
            else:
                oldest = int(state.ring.oldest(state.highest)[b])
                slots = np.arange(2)
                # The next token sees its whole window.
                assert oldest <= length - window
                tokens = np.r_[slots, np.arange(oldest, length)]
                slots = np.where(tokens < 2, tokens, 2 + (tokens - 2) % state.ring.size)
            for stored in (state.storage.keys, state.storage.values):
                expected = np.broadcast_to((tokens + b)[:, None], (2, len(tokens), 512))
                np.testing.assert_array_equal(stored[b][:, slots], expected)
