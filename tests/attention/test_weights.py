"""attention_weights and attention_summary: the weights themselves, or facts about all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import regard
from problems import LAYOUTS, assert_same_bits, make_problem
from regard import bias, masks, reference

OPTIONS = {
    "plain": lambda rng: {},
    "causal": lambda rng: {"causal": True},
    "window": lambda rng: {"window": (30, 4)},
    "mask": lambda rng: {"mask": rng.random((2, 4, 66, 140)) < 0.5},
    "packed mask": lambda rng: {
        "mask": regard.PackedMask.from_dense(rng.random((4, 66, 140)) < 0.5)
    },
    "block mask": lambda rng: {"mask": masks.dilated(66, 140, 9, 3, block_size=16)},
    "bias": lambda rng: {"bias": rng.standard_normal((4, 66, 140)).astype(np.float32)},
    "position_bias": lambda rng: {
        "position_bias": bias.Relative(rng.standard_normal((21, 4))),
        "query_offset": [3, 90],
    },
    "lengths": lambda rng: {"key_lengths": [70, 0], "query_lengths": [66, 9], "causal": True},
    "scores": lambda rng: {
        "softcap": 2.0,
        "alibi_slopes": np.ones(4) / 8,
        "sinks": rng.standard_normal(4),
        "scale": np.array([1.0, 0.0, -1.0, 0.3]),
    },
    "cosine": lambda rng: {"similarity": "cosine", "scale": 5.0},
}


def make(rng, dtype, option, **sizes):
    sizes = {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 66, "keys": 140} | sizes
    options = OPTIONS[option](rng)
    if "bias" in options:
        options["bias"] = options["bias"].astype(dtype)
    return make_problem(rng, dtype=dtype, **sizes, **options)


def weights(problem, **which):
    return regard.attention_weights(problem.query, problem.key, **problem.options, **which)


def summary(problem, **which):
    return regard.attention_summary(problem.query, problem.key, **problem.options, **which)


def expected_weights(problem) -> np.ndarray:
    return reference.weights(problem.query, problem.key, **problem.options)


def bound(problem) -> float:
    """Error of a weight: that of an output whose values are ones."""
    return problem.but(value=np.ones_like(problem.value)).tolerance()[0]


@pytest.mark.parametrize("option", OPTIONS)
def test_all_weights(isa, dtype, rng, option):
    problem = make(rng, dtype, option)
    got = weights(problem)
    assert got.dtype == dtype
    assert got.shape == problem.score_shape
    np.testing.assert_allclose(got, expected_weights(problem), rtol=0, atol=bound(problem))
    assert (got[~problem.sees] == 0).all()


@pytest.mark.parametrize("stage", ["scaled", "softcapped", "masked"])
@pytest.mark.parametrize("option", OPTIONS)
def test_scores_of_a_stage(isa, dtype, rng, option, stage):
    problem = make(rng, dtype, option)
    got = weights(problem, stage=stage)
    assert got.dtype == dtype
    assert got.shape == problem.score_shape
    expected = reference.weights(problem.query, problem.key, stage=stage, **problem.options)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    finite = np.isfinite(expected)
    # Each score, of a sum over the head_dim and the options after it, to some units of the largest.
    size = np.abs(expected[finite]).max(initial=1)
    error = np.abs(got[finite] - expected[finite]).max(initial=0)
    assert error <= 16 * np.finfo(dtype).eps * size


def test_stages_in_their_order(isa, dtype):
    query, key = np.full((1, 2, 1), 2, dtype), np.array([[[3], [np.nan], [-1]]], dtype)
    options = {"scale": 1, "softcap": 2.0, "mask": [[True, False, True]]}
    options["bias"] = np.array([[0, 0, 5]], dtype)
    rows = [
        regard.attention_weights(query, key, rows=[1], stage=stage, **options).ravel()
        for stage in ("scaled", "softcapped", "masked")
    ]
    capped = 2 * np.tanh(3), 2 * np.tanh(-1)
    expected = [
        [6, np.nan, -2],
        [capped[0], np.nan, capped[1]],
        [capped[0], -np.inf, capped[1] + 5],
    ]
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_scores_of_pages_do_not_go_beyond_the_length(isa, dtype, rng):
    """There is no page to read there."""
    pages = rng.standard_normal((3, 16, 2, 8)).astype(dtype)
    query = rng.standard_normal((2, 4, 5, 8)).astype(dtype)
    options = {"block_table": [[2, 0], [1, -1]], "key_lengths": [20, 3]}
    got = regard.attention_weights(query, pages, stage="scaled", **options)
    expected = reference.weights(query, pages, stage="scaled", **options)
    assert np.isneginf(got[1, ..., 3:]).all()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


WHICH = {
    "a row": {"rows": slice(3, 4)},
    "some rows": {"rows": slice(1, 60, 7)},
    "rows backwards": {"rows": slice(None, None, -1)},
    "rows of an array": {"rows": np.array([5, 0, 65, 5])},
    "rows of a list": {"rows": [64, 2]},
    "rows from the end": {"rows": np.array([-1, -66])},
    "no rows": {"rows": np.array([], dtype=int)},
    "no keys": {"keys": slice(9, 9)},
    "some keys": {"keys": slice(60, 70)},
    "keys of an array": {"keys": np.array([139, 0, 64, 64])},
    "keys from the end": {"keys": slice(-3, None)},
    "both": {"rows": np.array([1, 50], np.int32), "keys": slice(None, None, 3)},
    "both arrays": {"rows": np.array([1, 50, 2]), "keys": np.array([7, 130], np.uint8)},
}


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("option", ["causal", "bias", "lengths"])
def test_some_weights(isa, dtype, rng, option, which):
    """Rows and keys are picked out; the softmax is over all keys, picked or not."""
    problem = make(rng, dtype, option)
    rows, keys = (WHICH[which].get(name, slice(None)) for name in ("rows", "keys"))
    got = weights(problem, **WHICH[which])
    assert_same_bits(got, np.ascontiguousarray(weights(problem)[..., rows, :][..., keys]))
    scores = weights(problem, stage="masked")
    got = weights(problem, stage="masked", **WHICH[which])
    assert_same_bits(got, np.ascontiguousarray(scores[..., rows, :][..., keys]))


def test_ranks_of_weights(isa, dtype, rng):
    problem = make_problem(rng, batch=(2, 3), heads=2, queries=9, keys=12, dtype=dtype)
    assert weights(problem, rows=[1], keys=[2, 3]).shape == (2, 3, 2, 1, 2)
    flat = problem.but(query=problem.query[0, 0, 0], key=problem.key[0, 0, 0])
    assert weights(flat, rows=[1]).shape == (1, 12)


def test_weights_by_hand(isa, dtype):
    zeros = np.zeros((3, 2), dtype)
    got = regard.attention_weights(zeros, zeros, causal=True)
    expected = [[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(got, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("option", OPTIONS)
def test_summary(isa, dtype, rng, option):
    problem = make(rng, dtype, option)
    got = summary(problem, top_k=5, pooled=(7, 9))
    expected = reference.summary(
        problem.query, problem.key, top_k=5, pooled=(7, 9), **problem.options
    )
    error = bound(problem)
    queries, keys = problem.score_shape[-2:]
    # Sums over so many weights, each off by the bound; a mean over rows is off by a row's own.
    for name, slack in (
        ("row_max", 1),
        ("column_sums", math.sqrt(queries)),
        ("pooled", 2),
        ("entropy", 2 * math.log(keys)),
    ):
        one, other = getattr(got, name), getattr(expected, name)
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-6 if dtype == np.float32 else 1e-14,
                                   atol=4 * slack * error, err_msg=name)  # fmt: skip
    np.testing.assert_allclose(got.lse, expected.lse, rtol=1e-6, atol=problem.tolerance()[1])
    check_top(problem, got, expected, error)


def check_top(problem, got, expected, error) -> None:
    """Weights within the error may change places; otherwise the indices are the oracle's."""
    p = np.broadcast_to(expected_weights(problem), problem.score_shape)
    indices, largest = np.asarray(got.top_indices), got.top_weights
    assert indices.shape == largest.shape == expected.top_indices.shape
    assert indices.dtype.kind == "i"
    missing = expected.top_indices == -1
    np.testing.assert_array_equal(indices == -1, missing)
    assert (largest[missing] == 0).all()
    np.testing.assert_allclose(largest, expected.top_weights, rtol=0, atol=2 * error)
    at_index = np.take_along_axis(p, np.where(missing, 0, indices), axis=-1)
    np.testing.assert_allclose(np.where(missing, 0, at_index), largest, rtol=0, atol=2 * error)
    assert (np.diff(largest, axis=-1) <= 0).all()
    ordered = np.sort(indices, axis=-1)
    twice = (np.diff(ordered, axis=-1) == 0) & (ordered[..., 1:] >= 0)
    assert not twice.any()
    seen = np.take_along_axis(problem.sees, np.where(missing, 0, indices), axis=-1)
    assert seen[~missing].all()


def test_equal_weights_are_listed_by_index(isa, dtype):
    """Exact ties over several tiles: two kinds of keys, of which one weighs more."""
    query, key = np.ones((1, 50, 1), dtype), (np.arange(300) % 3 == 0).astype(dtype)
    got = regard.attention_summary(query, key[np.newaxis, :, np.newaxis], top_k=150)
    heavy = [*range(0, 300, 3)]
    light = [j for j in range(300) if j % 3][:50]
    np.testing.assert_array_equal(got.top_indices, [[heavy + light] * 50])


def test_summary_of_rows_that_see_nothing(isa, dtype, rng):
    problem = make_problem(rng, heads=2, queries=50, keys=20, dtype=dtype, causal=True)
    got = summary(problem, top_k=30)
    blind = slice(0, 30)
    for name in ("entropy", "row_max", "top_weights"):
        assert (getattr(got, name)[:, blind] == 0).all()
    assert (got.top_indices[:, blind] == -1).all()
    assert np.isneginf(got.lse[:, blind]).all()
    assert (got.pooled[:, blind] == 0).all()
    # Row 30 sees one key, row 31 two, and so on; never more than there are.
    counts = (got.top_indices >= 0).sum(axis=-1)
    np.testing.assert_array_equal(counts[:, 30:], np.broadcast_to(np.arange(1, 21), (2, 20)))


@pytest.mark.parametrize("pooled", [(1, 1), (66, 140), (1000, 1000), (5, 140), (128, 128)])
def test_pooled_cells(isa, dtype, rng, pooled):
    problem = make(rng, dtype, "causal")
    got = summary(problem, pooled=pooled).pooled
    expected = reference.summary(
        problem.query, problem.key, pooled=pooled, **problem.options
    ).pooled
    assert got.shape == expected.shape == (2, 4, min(pooled[0], 66), min(pooled[1], 140))
    np.testing.assert_allclose(got, expected, rtol=0, atol=8 * bound(problem))


def test_defaults_of_the_summary(isa, dtype, rng):
    got = summary(make_problem(rng, heads=2, queries=130, keys=257, dtype=dtype))
    assert got.top_indices.shape == got.top_weights.shape == (2, 130, 8)
    assert got.pooled.shape == (2, 128, 128)
    assert got.column_sums.shape == (2, 257)
    assert got.entropy.shape == got.row_max.shape == got.lse.shape == (2, 130)


@pytest.mark.parametrize("top_k", [0, 1, 3, 140, 200])
def test_any_number_of_largest_weights(isa, dtype, rng, top_k):
    problem = make(rng, dtype, "plain")
    got = summary(problem, top_k=top_k)
    expected = reference.summary(problem.query, problem.key, top_k=top_k)
    check_top(problem, got, expected, bound(problem))


def test_the_lse_is_that_of_attention(isa, dtype, rng):
    problem = make(rng, dtype, "scores")
    expected = problem.output_and_lse()[1].astype(np.float64)
    np.testing.assert_allclose(
        summary(problem).lse, expected, rtol=0, atol=2 * problem.tolerance()[1]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_unseen_keys_do_not_matter(isa, dtype, rng, bad):
    for option in ("causal", "mask", "block mask", "lengths"):
        problem = make(rng, dtype, option, kv_heads=1)
        key = problem.key.copy()
        key[~problem.seen_keys] = bad
        dirty = problem.but(key=key)
        assert_same_bits(weights(dirty), weights(problem))
        for one, other in zip(vars_of(summary(dirty)), vars_of(summary(problem)), strict=True):
            np.testing.assert_array_equal(one, other)


def vars_of(facts) -> list[np.ndarray]:
    names = ("column_sums", "entropy", "row_max", "top_indices", "top_weights", "pooled", "lse")
    return [np.asarray(getattr(facts, name)) for name in names]


@pytest.mark.parametrize("sizes", [{"queries": 0}, {"keys": 0}, {"heads": 0}, {"batch": (0,)}])
def test_no_queries_or_keys_or_heads(isa, dtype, rng, sizes):
    problem = make_problem(rng, dtype=dtype, **sizes)
    assert weights(problem).shape == problem.score_shape
    expected = reference.summary(problem.query, problem.key, top_k=2)
    for one, other in zip(vars_of(summary(problem, top_k=2)), vars_of(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_fill_up_a_vector_weigh_nothing(isa, dtype):
    """An infinite key gives every query a score of -inf, but 0 * inf is NaN."""
    query, key = np.full((1, 5, 4), -1, dtype), np.ones((1, 9, 4), dtype)
    key[0, 3] = np.inf
    told = regard.attention_summary(query, key)
    np.testing.assert_allclose(told.column_sums, 5 / 8 * (np.arange(9) != 3)[np.newaxis])
    np.testing.assert_allclose(told.pooled[0], np.tile((np.arange(9) != 3) / 8, (5, 1)))


def test_threads_and_layouts_do_not_matter(isa, dtype, rng):
    problem = make(rng, dtype, "causal")
    expected = vars_of(summary(problem, num_threads=1))
    for name, lay_out in LAYOUTS.items():
        moved = problem.but(query=lay_out(problem.query), key=lay_out(problem.key))
        assert_same_bits(weights(moved, num_threads=3), weights(problem, num_threads=1))
        for one, other in zip(vars_of(summary(moved, num_threads=3)), expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
