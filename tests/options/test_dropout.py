"""Dropout: the weights dropped are those of the generator, whatever the tiles and the threads."""

from __future__ import annotations

import math

import numpy as np
import pytest

import regard
from problems import LAYOUTS, assert_close, assert_same_bits, check, make_problem
from regard import reference
from regard.reference.philox import factors

SHAPES = {
    "one query": {"queries": 1, "keys": 700},
    "one key": {"queries": 70, "keys": 1},
    "over one tile": {"queries": 49, "keys": 65},
    "over two blocks": {"queries": 193, "keys": 257},
    "odd": {"queries": 7, "keys": 131},
}


def dropped(problem) -> np.ndarray:
    """Which weights a call drops. Scores are equal and each value picks out one weight."""
    *batch, heads, _, keys = problem.score_shape
    dtype = problem.query.dtype
    value = np.broadcast_to(np.eye(keys, dtype=dtype), (*batch, heads, keys, keys))
    kv_heads = problem.key.shape[-3]
    out = problem.but(value=value[..., :kv_heads, :, :], scale=0.0).attention()
    dropout = problem.options["dropout"]
    assert_close(out[out != 0], np.full((out != 0).sum(), 1 / keys / (1 - dropout)),
                 20 * np.finfo(dtype).eps)  # fmt: skip
    return out == 0


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_drops_what_the_generator_says(isa, dtype, rng, shape, seed):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, dtype=dtype, dropout=0.3, seed=seed, **SHAPES[shape]
    )
    expected = factors(0.3, seed, np.arange(2), problem.score_shape[1:]) == 0
    np.testing.assert_array_equal(dropped(problem), expected)


@pytest.mark.parametrize("dropout", [1e-9, 0.01, 0.5, 0.99, 1 - 2**-30])
def test_any_probability(isa, dtype, rng, dropout):
    problem = make_problem(rng, heads=2, queries=66, keys=140, dtype=dtype, dropout=dropout, seed=5)
    expected = factors(dropout, 5, np.arange(1), problem.score_shape) == 0
    np.testing.assert_array_equal(dropped(problem), expected[0])


OPTIONS = {
    "plain": lambda rng: {},
    "causal": lambda rng: {"causal": True},
    "window": lambda rng: {"window": (40, 3)},
    "mask": lambda rng: {"mask": rng.random((2, 4, 193, 257)) < 0.5},
    "key_lengths": lambda rng: {"key_lengths": [200, 65]},
    "query_lengths": lambda rng: {"query_lengths": [193, 50], "causal": True},
    "query_offset": lambda rng: {"query_offset": [3, -20], "causal": True},
    "sinks": lambda rng: {"sinks": rng.standard_normal(4)},
    "softcap": lambda rng: {"softcap": 1.0, "alibi_slopes": np.ones(4) / 20},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_the_oracle(isa, dtype, rng, option):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=193, keys=257, head_dim=40, dtype=dtype,
        dropout=0.2, seed=1234567890123456789, **OPTIONS[option](rng),
    )  # fmt: skip
    check(problem)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_lse_is_that_without_dropout(isa, dtype, rng, option):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=193, keys=257, dtype=dtype,
        **OPTIONS[option](rng),
    )  # fmt: skip
    _, lse = problem.output_and_lse()
    got = problem.but(dropout=0.7, seed=9).output_and_lse()[1]
    assert_close(got, lse.astype(np.float64), problem.tolerance()[1])


def test_threads_do_not_matter(isa, dtype, rng):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=300, keys=300, head_dim=64, dtype=dtype,
        dropout=0.5, seed=7, causal=True,
    )  # fmt: skip
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 3, 64, None):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(isa, dtype, rng, layout):
    problem = make_problem(
        rng, batch=(2,), heads=2, queries=66, keys=140, dtype=dtype, dropout=0.5, seed=7
    )
    moved = {n: LAYOUTS[layout](getattr(problem, n)) for n in ("query", "key", "value")}
    assert_same_bits(problem.but(**moved).output_and_lse(), problem.output_and_lse())


def test_what_else_is_in_the_call_does_not_matter(isa, dtype, rng):
    """The counter holds element, head, query and key: more of any of them moves nothing."""
    problem = make_problem(
        rng, batch=(3,), heads=6, kv_heads=6, queries=130, keys=257, dtype=dtype, dropout=0.5,
        seed=3,
    )  # fmt: skip
    whole = dropped(problem)
    fewer = problem.but(query=problem.query[:2, :2, :49], key=problem.key[:2, :2])
    fewer = fewer.but(value=problem.value[:2, :2])
    np.testing.assert_array_equal(dropped(fewer), whole[:2, :2, :49])
    shorter = problem.but(key=problem.key[..., :70, :], value=problem.value[..., :70, :])
    np.testing.assert_array_equal(dropped(shorter), whole[..., :70])
    grouped = problem.but(key=problem.key[:, ::3], value=problem.value[:, ::3])
    np.testing.assert_array_equal(dropped(grouped), whole)


def test_batch_axes_are_numbered_in_c_order(isa, dtype, rng):
    problem = make_problem(
        rng, batch=(6,), heads=2, queries=9, keys=20, dtype=dtype, dropout=0.5, seed=3
    )
    expected = problem.output_and_lse()
    for shape in ((2, 3), (3, 2), (1, 6), (2, 3, 1)):
        shaped = {
            n: getattr(problem, n).reshape(*shape, 2, -1, 8) for n in ("query", "key", "value")
        }
        out, lse = problem.but(**shaped).output_and_lse()
        got = out.reshape(expected[0].shape), lse.reshape(expected[1].shape)
        assert_same_bits(got, expected)
    # Keys that all elements share do not make them one element.
    shared = problem.but(key=problem.key[:1], value=problem.value[:1])
    np.testing.assert_array_equal(dropped(shared), factors(0.5, 3, np.arange(6), (2, 9, 20)) == 0)


def test_the_query_counts_by_its_index_not_its_position(isa, dtype, rng):
    problem = make_problem(rng, queries=50, keys=70, dtype=dtype, dropout=0.5, seed=3)
    expected = dropped(problem)
    np.testing.assert_array_equal(dropped(problem.but(query_offset=17)), expected)


def test_seeds_differ(isa, dtype, rng):
    problem = make_problem(rng, heads=2, queries=50, keys=70, dtype=dtype, dropout=0.5)
    seeds = [0, 1, 2, 2**32, 2**32 + 1, 2**63]
    masks = [dropped(problem.but(seed=seed)) for seed in seeds]
    for n, one in enumerate(masks):
        np.testing.assert_array_equal(dropped(problem.but(seed=np.uint64(seeds[n]))), one)
        for other in masks[:n]:
            assert 0.4 < (one == other).mean() < 0.6


@pytest.mark.parametrize("dropout", [0.05, 0.5, 0.9])
def test_keep_rate(isa, rng, dropout):
    """Of each row, head and column: within five standard deviations of the binomial."""
    problem = make_problem(
        rng, batch=(2,), heads=4, queries=200, keys=200, dropout=dropout, seed=20
    )
    mask = dropped(problem)
    for axis in (None, -1, -2, (-1, -2), 0):
        share = mask.mean(axis=axis)
        count = mask.size / np.size(share)
        sigma = math.sqrt(dropout * (1 - dropout) / count)
        # Skew makes far tails of few draws heavier than the normal's.
        assert np.abs(share - dropout).max() < 6 * sigma + 2 / count


def test_mean_over_seeds_is_the_output_without_dropout(isa, rng):
    problem = make_problem(rng, heads=2, queries=16, keys=40, dtype=np.float64)
    calls = 400
    mean = sum(problem.but(dropout=0.3, seed=s).attention() for s in range(calls)) / calls
    weights = reference.weights(problem.query, problem.key)
    sigma = np.sqrt(0.3 / 0.7 * (weights**2 @ problem.value**2) / calls)
    assert (np.abs(mean - problem.attention()) < 6 * sigma).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dropped_weight_is_zero_and_not_a_mask(isa, dtype, rng, bad):
    """0 * NaN is NaN: only masks hide a value."""
    problem = make_problem(
        rng, heads=2, queries=50, keys=70, dtype=dtype, dropout=0.5, seed=3, causal="upper_left"
    )
    assert dropped(problem.but(causal=False))[:, 30:, 30].any()
    value = problem.value.copy()
    value[:, 30, 2] = bad
    out, lse = problem.but(value=value).output_and_lse()
    clean = problem.output_and_lse()
    check(problem.but(value=value), (out, lse))
    assert_same_bits(lse, clean[1])
    assert_same_bits(out[:, :30], clean[0][:, :30])
    assert not np.isfinite(out[:, 30:, 2]).any()


def test_linear_in_the_values_and_the_same_twice(isa, dtype, rng):
    problem = make_problem(rng, heads=2, queries=50, keys=70, dtype=dtype, dropout=0.5, seed=3)
    assert_same_bits(problem.output_and_lse(), problem.output_and_lse())
    double = problem.but(value=2 * problem.value).attention()
    assert_same_bits(double, 2 * problem.attention())


def test_dropout_needs_a_seed(rng):
    x = rng.standard_normal((4, 8))
    with pytest.raises((ValueError, TypeError), match="seed"):
        regard.attention(x, x, x, dropout=0.5)


@pytest.mark.parametrize("queries", [7, 1], ids=["tiles", "decode"])
def test_part_of_a_larger_call_drops_what_the_whole_does(rng, isa, queries):
    """The core is told where it lies: elements in any order, odd keys, a group's second head."""
    query = rng.standard_normal((5, 4, 40, 8))
    key, value = rng.standard_normal((2, 5, 2, 50, 8))
    options = {"dropout": 0.5, "seed": 2**40 + 3}
    i, j, element, head = slice(13, 13 + queries), slice(21, 50), [4, 1], slice(2, 4)
    kept = factors(0.5, options["seed"], np.arange(5), (4, 40, 50))
    part = query[element, head, i], key[element, 1:, j], value[element, 1:, j]
    core = {
        **options, "dropout_elements": np.array(element), "dropout_head": 2,
        "dropout_query": i.start, "dropout_key": j.start,
    }  # fmt: skip
    out, lse = regard._core.attention(*part, core, True, None)
    weights = regard.attention_weights(*part[:2]) * kept[element, head, i, j]
    np.testing.assert_allclose(out, weights @ part[2], atol=1e-12)
    assert abs(out - regard.attention(*part, **options)).max() > 0.1
    gradients = {"value": np.zeros(part[2].shape)}
    dout = rng.standard_normal(out.shape)
    regard._core.backward(*part, core, out, lse, dout, None, gradients, False)
    expected = (weights.swapaxes(-1, -2) @ dout).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(gradients["value"], expected, atol=1e-12)
