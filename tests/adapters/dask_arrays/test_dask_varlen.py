"""Pieces in runs of equal cost: bitwise what one call gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("distributed")

import dask
import dask.array as da

import regard
import regard.dask
from regard.dask._balance import balanced_runs


@pytest.fixture
def packed(rng):
    """Thirty pieces, some of them empty and one long: arrays, and where they begin."""
    queries, keys = rng.integers(0, 60, (2, 30))
    queries[[3, 9]], keys[[9, -1]], queries[5], keys[5] = 0, 0, 400, 300
    starts = [np.concatenate([[0], np.cumsum(n)]) for n in (queries, keys)]
    query = rng.standard_normal((starts[0][-1], 4, 16), dtype=np.float32)
    key, value = rng.standard_normal((2, starts[1][-1], 2, 16), dtype=np.float32)
    return (query, key, value), starts


def options(rng, starts):
    queries, keys = (int(np.diff(start).max()) for start in starts)
    half = [np.diff(start) // 2 for start in starts]
    total = int(starts[0][-1])
    return {
        "plain": {},
        "causal": {"causal": True},
        "dropout": {"dropout": 0.3, "seed": 7},
        "mask": {"mask": rng.random((queries, keys)) < 0.5},
        "bias": {"bias": rng.standard_normal((30, 1, queries, keys)).astype(np.float32)},
        "key_mask": {"key_mask": rng.random((30, keys)) < 0.7},
        "lengths": {"query_lengths": half[0], "key_lengths": half[1], "sinks": np.arange(4.0)},
        "rows": {"query_scale": rng.random((4, total)), "alibi_slopes": rng.random((30, 4))},
        "offsets": {"query_offset": np.arange(30), "window": 4, "query_scale": rng.random((4, 1))},
    }  # fmt: skip


@pytest.mark.parametrize("name", options(np.random.default_rng(0), [np.arange(31)] * 2))
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_bits_of_one_call(rng, packed, name, count):
    arrays, starts = packed
    given = options(rng, starts)[name]
    cut = [da.from_array(x, (100, -1, -1)) for x in arrays]
    lazy = regard.dask.varlen_attention(*cut, *starts, tasks=count, return_lse=True, **given)
    found = dask.compute(*lazy, scheduler="sync")
    expected = regard.varlen_attention(*arrays, *starts, return_lse=True, **given)
    for x, one, other in zip(lazy, found, expected, strict=True):
        assert x.shape == one.shape
        assert (one == other).all()


def test_scales_of_int8(rng, packed):
    (query, key, value), starts = packed
    stored = [regard.quantize_kv(x) for x in (key, value)]
    scales = {"key_scales": stored[0][1], "value_scales": stored[1][1]}
    arrays = [da.from_array(x, 50) for x in (query, stored[0][0], stored[1][0])]
    cut = {"key_scales": da.from_array(scales["key_scales"], 40), "value_scales": stored[1][1]}
    out = regard.dask.varlen_attention(*arrays, *starts, tasks=4, **cut)
    expected = regard.varlen_attention(query, stored[0][0], stored[1][0], *starts, **scales)
    assert (out.compute(scheduler="sync") == expected).all()


def test_on_workers(packed, client):
    arrays, starts = packed
    out = regard.dask.varlen_attention(*map(da.from_array, arrays), *starts, tasks=6)
    assert (client.compute(out).result() == regard.varlen_attention(*arrays, *starts)).all()


def test_one_long_piece_is_a_run_of_its_own():
    starts = np.concatenate([[0, 3000], 3000 + 100 * np.arange(1, 91)])
    x = da.zeros((12000, 1, 4))
    out = regard.dask.varlen_attention(x, x, x, starts, starts, tasks=4)
    assert out.chunks[0] == (3000, 9000)  # nine million against nine hundred thousand


@given(
    st.lists(st.integers(0, 50), max_size=12).flatmap(
        lambda costs: st.tuples(st.just(costs), st.integers(1, 6))
    )
)
def test_no_cut_is_better(problem):
    costs, runs = problem
    found = balanced_runs(costs, [False] * len(costs), runs)
    assert [n for first, stop in found for n in range(first, stop)] == list(range(len(costs)))
    assert len(found) <= runs

    def best(start: int, left: int) -> int:
        """Cost of the costliest run, of all ways to cut what is left."""
        if start == len(costs):
            return 0
        if left == 1:
            return sum(costs[start:])
        return min(
            max(sum(costs[start:stop]), best(stop, left - 1))
            for stop in range(start + 1, len(costs) + 1)
        )

    assert max((sum(costs[a:b]) for a, b in found), default=0) == best(0, runs)
