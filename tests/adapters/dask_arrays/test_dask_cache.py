"""A sequence over workers: what is attended to, and what becomes of it when workers are killed."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask.array as da

import regard
import regard.dask
from dask_problems import MERGING, UNIT

TOKENS = 1000


@pytest.fixture
def rows(rng):
    """Keys and values of two heads, and five queries of eight."""
    key, value = rng.standard_normal((2, 2, TOKENS, 16), dtype=np.float32)
    return key, value, rng.standard_normal((8, 5, 16), dtype=np.float32)


def filled(client, rows, **given):
    """A cache with rows of NumPy's, chunks of dask's, and rows again."""
    key, value, _ = rows
    cache = regard.dask.DistributedKVCache(client, 1, 2, 16, shard_tokens=300, **given)
    cache.append(key[:, :450], value[:, :450])
    cache.append(*(da.from_array(x[:, 450:900], (2, 200, 16)) for x in (key, value)))
    cache.append(key[:, 900:], value[:, 900:])
    return cache


def kill(client, address):
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_same_as_a_cache_on_one_machine(rng, client, rows, dtype):
    one = regard.KVCache(1, 2, 16, TOKENS, dtype=dtype)
    one.append(*rows[:2])
    query = rows[2]
    with filled(client, rows, dtype=dtype) as cache:
        assert len(cache) == TOKENS
        starts = [(start, stop) for start, stop, _ in cache.shards]
        assert starts == [(0, 300), (300, 450), (450, 650), (650, 850), (850, 900), (900, 1000)]
        assert len({worker for _, _, worker in cache.shards}) == 3
        for options in (
            {},
            {"sinks": np.arange(8.0)},
            {"window": 20},
            {"bias": rng.standard_normal((5, TOKENS), dtype=np.float32)},
            {"key_mask": rng.random(TOKENS) < 0.5},
            {"alibi_slopes": regard.alibi_slopes(8)},
            {"dropout": 0.5, "seed": 1},
            {"causal": False, "query_offset": -90, "window": 0, "sinks": np.arange(8.0)},
        ):
            out, lse = cache.attend(query, return_lse=True, **options)
            expected, of_one = one.attend(query, return_lse=True, **options)
            assert abs(out - expected).max() <= MERGING * UNIT * abs(rows[1]).max() * 2
            np.testing.assert_allclose(lse, of_one, rtol=2 * UNIT, atol=2 * UNIT)
        by_token = cache.attend(query.swapaxes(0, 1), layout="SHD")
        assert (by_token.swapaxes(0, 1) == cache.attend(query)).all()
        assert cache.attend(query.astype(np.float16)).dtype == np.float16


def test_a_killed_worker_with_files(client, rows, tmp_path):
    with filled(client, rows, directory=tmp_path, dtype="bfloat16") as cache:
        before = cache.attend(rows[2])
        kill(client, cache.shards[1][2])
        assert (cache.attend(rows[2]) == before).all()
        # The last shard as well, which is then appended to.
        kill(client, cache.shards[-1][2])
        cache.append(rows[0][:, :10], rows[1][:, :10])
        assert len(cache) == TOKENS + 10
        assert not (cache.attend(rows[2]) == before).all()
        cache.truncate(TOKENS)
        assert (cache.attend(rows[2]) == before).all()
        files = list(tmp_path.iterdir())
        assert len(files) == len(cache.shards)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_too(client, rows, tmp_path):
    with filled(client, rows, directory=tmp_path) as cache:
        kill(client, cache.shards[0][2])
        for file in tmp_path.glob("*-0.kv"):
            file.unlink()
        with pytest.raises(regard.dask.LostTokens, match=r"tokens 0 to 299 .* cannot be opened"):
            cache.attend(rows[2])


def test_a_killed_worker_without_files(client, rows):
    with filled(client, rows) as cache:
        before = cache.attend(rows[2])
        kill(client, cache.shards[1][2])
        with pytest.raises(regard.dask.LostTokens, match=r"tokens 300 to 449 ") as lost:
            cache.attend(rows[2])
        assert (lost.value.start, lost.value.stop) == (300, 450)
        with pytest.raises(regard.dask.LostTokens):  # and again: nothing is left out
            cache.attend(rows[2])
        cache.truncate(lost.value.start)
        assert len(cache) == 300
        cache.append(rows[0][:, 300:], rows[1][:, 300:])
        out = cache.attend(rows[2])
        assert abs(out - before).max() <= MERGING * UNIT * abs(rows[1]).max()


def test_an_append_that_fails_changes_nothing(client, rows):
    key, value, query = rows
    with filled(client, rows, dtype="float16") as cache:
        before, shards = cache.attend(query), cache.shards
        beyond = key.copy()
        beyond[0, 700, 0] = 1e6
        with pytest.raises(ValueError, match="beyond float16's largest number"):
            cache.append(beyond, value)
        with pytest.raises(ValueError, match="beyond float16's largest number"):
            cache.append(*(da.from_array(x, (2, 300, 16)) for x in (beyond, value)))
        assert len(cache) == TOKENS
        assert (cache.attend(query) == before).all()
        assert [shard[:2] for shard in cache.shards] == [shard[:2] for shard in shards]


def test_an_empty_cache(client, rows):
    with regard.dask.DistributedKVCache(client, 1, 2, 16) as cache:
        out, lse = cache.attend(rows[2], causal=False, return_lse=True)
        assert not out.any()
        assert np.isneginf(lse).all()
