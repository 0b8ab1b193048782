"""`KVCache` in a buffer that was cut off, altered, or abandoned while it was written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from file_caches import SIZES, rows, zeros
from regard import KVCache
from regard.cache import _file
from regard.positions import Rope


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
