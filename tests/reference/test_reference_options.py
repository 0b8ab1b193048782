"""Every option of the oracle against plain loops over pairs, alone and mixed."""

from __future__ import annotations

import numpy as np
import pytest

from by_loops import by_loops
from problems import make_problem
from regard import reference
from stand_ins import DenseMask, DistanceTable

BATCH, HEADS, KV_HEADS, KEYS = 2, 4, 2, 7


def _bias(rng, *shape):
    return np.where(rng.random(shape) < 0.2, -np.inf, rng.standard_normal(shape))


def _table(rng, reach, heads):
    return DistanceTable(rng.standard_normal((2 * reach + 1, heads)))


OPTIONS = {
    "softcap": lambda rng, n: {"softcap": 0.7},
    "softcap 0": lambda rng, n: {"softcap": 0},
    "softcap of heads": lambda rng, n: {"softcap": np.array([0.5, 0.0, 2.0, 30.0])},
    "scale of heads": lambda rng, n: {"scale": np.array([0.5, 0.0, -2.0, 1.0])},
    "alibi": lambda rng, n: {"alibi_slopes": rng.standard_normal(4)},
    "alibi of elements": lambda rng, n: {"alibi_slopes": rng.random((2, 4))},
    "alibi causal": lambda rng, n: {"alibi_slopes": rng.random(4), "causal": True},
    "alibi upper_left": lambda rng, n: {"alibi_slopes": rng.random(4), "causal": "upper_left"},
    "alibi lengths": lambda rng, n: {"alibi_slopes": rng.random(4), "key_lengths": [3, 6]},
    "position_bias": lambda rng, n: {"position_bias": _table(rng, 2, 4)},
    "position_bias of one head": lambda rng, n: {"position_bias": _table(rng, 9, 1)},
    "position_bias offset": lambda rng, n: {
        "position_bias": _table(rng, 3, 4),
        "query_offset": [-2, 5],
    },
    "position_bias and bias": lambda rng, n: {
        "position_bias": _table(rng, 3, 4),
        "bias": _bias(rng, 4, n, 7),
    },
    "query_lengths": lambda rng, n: {"query_lengths": [0, n - 1]},
    "query_lengths causal": lambda rng, n: {"query_lengths": [2, n], "causal": True},
    "both lengths": lambda rng, n: {
        "query_lengths": [n - 3, n],
        "key_lengths": [3, 6],
        "window": (2, 1),
    },
    "query_offset": lambda rng, n: {"query_offset": 2, "causal": True},
    "query_offset < 0": lambda rng, n: {"query_offset": -3, "window": (2, 2)},
    "query_offset over all": lambda rng, n: {
        "query_offset": np.array([1, -1]),
        "causal": "upper_left",
        "key_lengths": [4, 7],
        "query_lengths": [n, 3],
    },
    "window < 0": lambda rng, n: {"window": (None, -1)},
    "window of heads < 0": lambda rng, n: {"window": ([0, None, -1, 1], [None, -1, 2, -2])},
    "window of heads": lambda rng, n: {"window": np.array([0, 2, -1, 1])},
    "window of heads, left": lambda rng, n: {"window": (np.array([0, 2, -1, 1]), 1)},
    "window of heads, right": lambda rng, n: {"window": (None, np.array([0, 2, -1, 1]))},
    "windows of heads": lambda rng, n: {
        "window": (np.array([0, 2, -1, 1]), np.array([-1, 0, 1, 1])),
        "causal": "upper_left",
    },
    "sinks": lambda rng, n: {"sinks": np.array([-np.inf, 0.5, 4.0, -300.0])},
    "sinks and blind rows": lambda rng, n: {
        "sinks": np.array([-np.inf, 0.5, 4.0, -300.0]),
        "mask": rng.random((2, 4, n, 7)) < 0.2,
    },
    "sinks and query_lengths": lambda rng, n: {
        "sinks": np.array([-np.inf, 0.5, 4.0, -300.0]),
        "query_lengths": [0, 3],
    },
    "cosine": lambda rng, n: {"similarity": "cosine"},
    "cosine scale": lambda rng, n: {"similarity": "cosine", "scale": 9.0, "softcap": 5.0},
    "dropout": lambda rng, n: {"dropout": 0.4, "seed": 2**40 + 17},
    "dropout masks": lambda rng, n: {"dropout": 0.1, "seed": 3, "causal": True, "query_offset": 1},
    "mask object": lambda rng, n: {"mask": DenseMask(rng.random((4, n, 7)) < 0.5)},
    "everything": lambda rng, n: {
        "causal": True,
        "window": (np.array([3, 4, -1, 2]), None),
        "mask": rng.random((4, n, 7)) < 0.8,
        "bias": _bias(rng, n, 7),
        "position_bias": _table(rng, 3, 4),
        "key_lengths": [7, 5],
        "query_lengths": [n, n - 1],
        "query_offset": [1, 3],
        "scale": np.array([3.0, 1.0, -4.0, 2.0]),
        "softcap": np.array([2.0, 0.0, 1.0, 5.0]),
        "alibi_slopes": rng.random((2, 4)),
        "sinks": np.array([0.0, -1.0, -np.inf, 1.0]),
        "similarity": "cosine",
        "dropout": 0.25,
        "seed": 99,
    },
}


@pytest.mark.parametrize("queries", [5, 7, 9])
@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_loops(rng, option, queries):
    problem = make_problem(
        rng, batch=(BATCH,), heads=HEADS, kv_heads=KV_HEADS, queries=queries, keys=KEYS, head_dim=3,
        value_dim=2, dtype=np.float64, **OPTIONS[option](rng, queries),
    )  # fmt: skip
    out, lse, weights = by_loops(problem.query, problem.key, problem.value, **problem.options)
    assert (weights != 0).any()
    got, got_lse = problem.oracle()
    np.testing.assert_allclose(got, out, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got_lse, lse, rtol=1e-12, atol=1e-13)
    p = reference.weights(problem.query, problem.key, **problem.options)
    np.testing.assert_allclose(p, weights, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("option", [name for name in OPTIONS if "position" not in name])
def test_every_option_changes_something(rng, option):
    """A test of an option that does nothing would pass without it."""
    if option == "softcap 0":
        return
    problem = make_problem(
        rng, batch=(BATCH,), heads=HEADS, kv_heads=KV_HEADS, queries=5, keys=KEYS,
        dtype=np.float64,
    )  # fmt: skip
    assert not np.allclose(
        problem.but(**OPTIONS[option](rng, 5)).oracle()[0], problem.oracle()[0], atol=1e-3
    )


def test_cosine_of_zeros_is_zero(rng):
    problem = make_problem(rng, queries=3, keys=4, dtype=np.float64, similarity="cosine")
    problem.query[0, 1] = 0
    problem.key[0, 2] = 0
    s = reference.scores(problem.query, problem.key, similarity="cosine")
    np.testing.assert_array_equal(s[0, 1], 0)
    np.testing.assert_array_equal(s[0, :, 2], 0)
    assert np.abs(s).max() <= 1 + 1e-15


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200])
def test_cosine_of_vectors_of_any_size(rng, size):
    x = rng.integers(1, 9, (1, 3, 4)).astype(np.float64)
    expected = reference.scores(x, x, similarity="cosine")
    np.testing.assert_allclose(reference.scores(x * size, x, similarity="cosine"), expected, 1e-2)


def test_a_sink_is_a_key_without_a_value(rng):
    """The definition: one more key of value 0, whose score is the sink."""
    problem = make_problem(rng, heads=2, queries=3, keys=4, dtype=np.float64)
    sinks = np.array([0.3, -2.0])
    bias = np.zeros((2, 3, 5))
    bias[:, :, 4] = sinks[:, np.newaxis]
    zeros = np.zeros((2, 1, 8))
    with_key = problem.but(
        key=np.concatenate([problem.key, zeros], axis=1),
        value=np.concatenate([problem.value, zeros], axis=1),
        bias=bias,
    )
    for got, expected in zip(problem.but(sinks=sinks).oracle(), with_key.oracle(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_rows_that_see_nothing_with_a_sink(rng):
    problem = make_problem(rng, heads=2, queries=3, keys=4, dtype=np.float64)
    for sink in (1.5, 1e4, -1e4):
        out, lse = problem.but(mask=np.zeros((), bool), sinks=np.array([sink, -np.inf])).oracle()
        np.testing.assert_array_equal(out, 0)
        np.testing.assert_array_equal(lse[0], sink)
        np.testing.assert_array_equal(lse[1], -np.inf)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_past_their_length_do_not_matter(rng, bad):
    problem = make_problem(rng, batch=(2,), queries=4, keys=4, dtype=np.float64).but(
        query_lengths=[2, 3], sinks=np.array([1.0]), dropout=0.5, seed=1
    )
    clean = problem.oracle()
    query = problem.query.copy()
    query[0, :, 2:] = query[1, :, 3:] = bad
    for got, expected in zip(problem.but(query=query).oracle(), clean, strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(clean[0][0, :, 2:], 0)
    np.testing.assert_array_equal(clean[1][0, :, 2:], -np.inf)


def test_a_dropped_weight_times_nan_is_nan(rng):
    problem = make_problem(rng, queries=8, keys=8, dtype=np.float64, dropout=0.5, seed=5)
    dropped = reference.weights(problem.query, problem.key, dropout=0.5, seed=5) == 0
    assert dropped[0, :, 3].any()
    problem.value[0, 3, 0] = np.nan
    out, lse = problem.oracle()
    assert np.isnan(out[0, :, 0]).all()
    assert np.isfinite(out[0, :, 1:]).all()
    assert np.isfinite(lse).all()


def test_dropout_keeps_the_lse(rng):
    problem = make_problem(rng, queries=8, keys=8, dtype=np.float64)
    with_dropout = problem.but(dropout=0.9, seed=5).oracle()
    np.testing.assert_array_equal(with_dropout[1], problem.oracle()[1])


def test_bad_arguments(rng):
    problem = make_problem(rng, batch=(2,), heads=4, kv_heads=2)
    for match, changes in (
        ("softcap", {"softcap": -1.0}),
        ("softcap", {"softcap": np.array([1, 2, np.nan, 1])}),
        ("softcap", {"softcap": np.ones(3)}),
        ("scale", {"scale": np.ones((4, 1))}),
        ("similarity", {"similarity": "euclid"}),
        ("sinks", {"sinks": np.zeros(3)}),
        ("sinks", {"sinks": np.full(4, np.inf)}),
        ("dropout", {"dropout": 0.5}),
        ("dropout", {"dropout": 1.0, "seed": 1}),
        ("query_lengths", {"query_lengths": [1, 6]}),
        ("query_lengths", {"query_lengths": [1, -1]}),
        ("key_lengths", {"key_lengths": [1, 8]}),
        ("broadcast", {"query_offset": [1, 2, 3]}),
        ("window", {"window": np.array([1, 2, 3])}),
        ("window", {"window": (np.array([1, 2, 3, -2]), None)}),
        ("window", {"window": ([1, None, 3], None)}),
        ("position_bias", {"position_bias": DistanceTable(np.zeros((3, 2)))}),
    ):
        with pytest.raises(ValueError, match=match):
            problem.but(**changes).oracle()
