"""Where the numbers lie in memory does not matter, to the last bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import regard
from problems import LAYOUTS, assert_same_bits, check, make_problem


@pytest.fixture
def problem(rng, dtype):
    return make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=50, keys=70, head_dim=20, value_dim=18,
        dtype=dtype, causal=True,
    )  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_query_key_value(isa, problem, layout):
    expected = problem.output_and_lse()
    other = {n: LAYOUTS[layout](getattr(problem, n)) for n in ("query", "key", "value")}
    for name, array in other.items():
        np.testing.assert_array_equal(array, getattr(problem, name))
        assert_same_bits(problem.but(**{name: array}).output_and_lse(), expected)
    assert_same_bits(problem.but(**other).output_and_lse(), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_for_one_query(isa, rng, dtype, layout):
    problem = make_problem(rng, heads=4, kv_heads=2, queries=1, keys=300, head_dim=24, dtype=dtype)
    expected = problem.output_and_lse()
    other = {n: LAYOUTS[layout](getattr(problem, n)) for n in ("query", "key", "value")}
    assert_same_bits(problem.but(**other).output_and_lse(), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_mask_and_bias(isa, rng, problem, dtype, layout):
    mask = rng.random(problem.score_shape) < 0.6
    bias = rng.standard_normal(problem.score_shape).astype(dtype)
    expected = problem.but(mask=mask, bias=bias).output_and_lse()
    moved = problem.but(mask=LAYOUTS[layout](mask), bias=LAYOUTS[layout](bias))
    assert_same_bits(moved.output_and_lse(), expected)


@pytest.mark.parametrize("make", [np.int64, np.int32, np.uint8, list, "every other", "unaligned"])
def test_layout_and_dtype_of_key_lengths(isa, problem, make):
    lengths = np.array([70, 33])
    expected = problem.but(key_lengths=lengths).output_and_lse()
    if make == "every other":
        lengths = np.repeat(lengths, 2)[::2]
    elif make == "unaligned":
        lengths = LAYOUTS["unaligned"](lengths)
    else:
        lengths = lengths.tolist() if make is list else lengths.astype(make)
    assert_same_bits(problem.but(key_lengths=lengths).output_and_lse(), expected)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_zero_strides(isa, problem, name, axis):
    """An axis of stride 0 reads as the copies it stands for."""
    array = getattr(problem, name)
    first = array[(slice(None),) * axis + (slice(0, 1),)]
    view = np.broadcast_to(first, array.shape)
    assert view.strides[axis] == 0
    expected = problem.but(**{name: view.copy()}).output_and_lse()
    assert_same_bits(problem.but(**{name: view}).output_and_lse(), expected)


def test_all_strides_zero(isa, dtype):
    one = np.ones((), dtype=dtype)
    query = np.broadcast_to(one, (2, 3, 50, 20))
    key = np.broadcast_to(one, (2, 3, 70, 20))
    out = regard.attention(query, key, key)
    np.testing.assert_allclose(out, np.ones(query.shape), rtol=20 * np.finfo(dtype).eps)


def test_sliding_windows_overlap(isa, rng, dtype):
    """Rows that share memory: key j is x[j : j + 20]."""
    x = rng.standard_normal(200).astype(dtype)
    key = np.lib.stride_tricks.sliding_window_view(x, 20)[np.newaxis, :90]
    query = np.lib.stride_tricks.sliding_window_view(x, 20)[np.newaxis, 90:150]
    expected = regard.attention(query.copy(), key.copy(), key.copy(), return_lse=True)
    assert_same_bits(regard.attention(query, key, key, return_lse=True), expected)


def test_one_array_three_times(isa, rng, dtype):
    """Self-attention on views of one packed projection, (batch, length, 3, heads, dim)."""
    packed = rng.standard_normal((2, 50, 3, 4, 16)).astype(dtype)
    query, key, value = packed.transpose(2, 0, 3, 1, 4)
    copies = (np.ascontiguousarray(a) for a in (query, key, value))
    expected = regard.attention(*copies, causal=True)
    assert_same_bits(regard.attention(query, key, value, causal=True), expected)


BATCHES = [
    ((3,), (1,), (3,)),
    ((1,), (3,), (1,)),
    ((), (3,), (1,)),
    ((2, 3), (3,), ()),
    ((2, 1), (1, 3), (2, 3)),
    ((1, 1), (3,), (2, 1)),
    ((2, 1, 3), (1,), (4, 1)),
]


@pytest.mark.parametrize("batches", BATCHES)
def test_batch_axes_broadcast(isa, rng, dtype, batches):
    sizes = {"query": (4, 10, 12), "key": (2, 11, 12), "value": (2, 11, 7)}
    arrays = {
        name: rng.standard_normal(batch + size).astype(dtype)
        for batch, (name, size) in zip(batches, sizes.items(), strict=True)
    }
    problem = make_problem(rng).but(**arrays)
    batch = np.broadcast_shapes(*batches)
    whole = {n: np.broadcast_to(a, (*batch, *sizes[n])).copy() for n, a in arrays.items()}
    got = problem.output_and_lse()
    assert got[0].shape == (*batch, 4, 10, 7)
    assert_same_bits(got, problem.but(**whole).output_and_lse())
    check(problem, got)


@pytest.mark.parametrize("rank", range(2, 7))
def test_every_rank(isa, rng, dtype, rank):
    leading = (2, 1, 3, 2)[: rank - 2]
    query, key, value = (
        rng.standard_normal((*leading, length, 6)).astype(dtype) for length in (4, 5, 5)
    )
    out, lse = regard.attention(query, key, value, return_lse=True)
    assert out.shape == (*leading, 4, 6)
    assert lse.shape == (*leading, 4)
    for index in np.ndindex(leading):
        one = regard.attention(query[index], key[index], value[index], return_lse=True)
        assert_same_bits((out[index], lse[index]), one)


def test_a_vector_is_one_query(isa, rng, dtype):
    query, key, value = (
        rng.standard_normal(shape).astype(dtype) for shape in ((6,), (5, 6), (5, 3))
    )
    out, lse = regard.attention(query, key, value, return_lse=True)
    assert out.shape == (3,)
    assert np.shape(lse) == ()
    rows, row_lse = regard.attention(query[np.newaxis], key, value, return_lse=True)
    assert_same_bits((out, np.asarray(lse)), (rows[0], row_lse[0, ...]))
    mask = np.array([True, False, True, True, False])
    masked = regard.attention(query, key, value, mask=mask)
    expected = regard.reference.attention(query, key, value, mask=mask)
    np.testing.assert_allclose(masked, expected, rtol=1e-4)


EMPTY = ["batch", "heads", "queries", "keys", "value_dim"]


@pytest.mark.parametrize(
    "empty", [c for n in (1, 2, 5) for c in itertools.combinations(EMPTY, n)], ids="+".join
)
def test_empty_sizes(isa, rng, dtype, empty):
    sizes = {"batch": 2, "heads": 4, "queries": 3, "keys": 4, "head_dim": 5, "value_dim": 6}
    sizes |= dict.fromkeys(empty, 0)
    sizes["batch"] = (sizes["batch"],)
    problem = make_problem(rng, dtype=dtype, kv_heads=sizes["heads"] // 2, **sizes)
    for options in ({}, {"causal": True}, {"window": 1}, {"key_lengths": 0}):
        check(problem.but(**options))
    if problem.score_shape[-1] == 0:
        out, lse = problem.output_and_lse()
        np.testing.assert_array_equal(out, np.zeros_like(out))
        np.testing.assert_array_equal(lse, np.full_like(lse, -np.inf))


def test_empty_mask_and_bias(isa, rng, dtype):
    problem = make_problem(rng, queries=3, keys=0, dtype=dtype)
    check(problem.but(mask=np.ones((3, 0), dtype=bool), bias=np.ones((1, 3, 0), dtype=dtype)))
