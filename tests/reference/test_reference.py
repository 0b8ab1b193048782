"""The oracle itself, against plain loops and against examples worked by hand."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import regard
from problems import make_problem
from regard import reference


def by_loops(query, key, value, *, causal=False, window=None, mask=None, bias=None,
             key_lengths=None, scale=None):  # fmt: skip
    """semantics, word by word, one pair at a time. Arrays are (batch, heads, length, dim)."""
    batch, heads, queries, head_dim = query.shape
    kv_heads, keys = key.shape[1:3]
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    out = np.zeros((batch, heads, queries, value.shape[-1]))
    lse = np.full((batch, heads, queries), -np.inf)
    full = (batch, heads, queries, keys)
    mask = None if mask is None else np.broadcast_to(mask, full)
    bias = None if bias is None else np.broadcast_to(bias, full)
    for b, h, i in np.ndindex(batch, heads, queries):
        length = keys if key_lengths is None else int(np.broadcast_to(key_lengths, (batch,))[b])
        p = i if causal == "upper_left" else i + length - queries
        g = h // (heads // kv_heads)
        row = []
        for j in range(length):
            if causal and j > p:
                continue
            if window is not None:
                left, right = window if isinstance(window, tuple) else (window, window)
                if left is not None and j < p - left:
                    continue
                if right is not None and j > p + right:
                    continue
            if mask is not None and not mask[b, h, i, j]:
                continue
            if bias is not None and bias[b, h, i, j] == -np.inf:
                continue
            s = scale * sum(query[b, h, i, d] * key[b, g, j, d] for d in range(head_dim))
            row.append((s if bias is None else s + bias[b, h, i, j], value[b, g, j]))
        if row:
            top = max(s for s, _ in row)
            z = sum(math.exp(s - top) for s, _ in row)
            out[b, h, i] = sum(math.exp(s - top) / z * v for s, v in row)
            lse[b, h, i] = top + math.log(z)
    return out, lse


def _bias(rng, *shape):
    return np.where(rng.random(shape) < 0.2, -np.inf, rng.standard_normal(shape))


OPTIONS = {
    "plain": lambda rng, n: {},
    "causal": lambda rng, n: {"causal": True},
    "lower_right": lambda rng, n: {"causal": "lower_right"},
    "upper_left": lambda rng, n: {"causal": "upper_left"},
    "window": lambda rng, n: {"window": 1},
    "window left": lambda rng, n: {"window": (2, None)},
    "window right": lambda rng, n: {"window": (None, 1)},
    "window (0, 0)": lambda rng, n: {"window": (0, 0)},
    "window upper_left": lambda rng, n: {"window": (2, 1), "causal": "upper_left"},
    "mask": lambda rng, n: {"mask": rng.random((2, 4, n, 7)) < 0.4},
    "mask of keys": lambda rng, n: {"mask": rng.random((2, 1, 1, 7)) < 0.5},
    "bias": lambda rng, n: {"bias": _bias(rng, 2, 4, n, 7)},
    "bias of heads": lambda rng, n: {"bias": _bias(rng, 4, 1, 1)},
    "key_lengths": lambda rng, n: {"key_lengths": [0, 6]},
    "key_lengths causal": lambda rng, n: {"key_lengths": [3, 6], "causal": True},
    "key_lengths window": lambda rng, n: {"key_lengths": [3, 6], "window": (1, 1)},
    "key_lengths upper_left": lambda rng, n: {"key_lengths": [3, 6], "causal": "upper_left"},
    "scale 0": lambda rng, n: {"scale": 0.0},
    "scale < 0": lambda rng, n: {"scale": -2.5},
    "everything": lambda rng, n: {
        "causal": True,
        "window": (4, None),
        "mask": rng.random((4, n, 7)) < 0.7,
        "bias": _bias(rng, n, 7),
        "key_lengths": np.array([7, 5]),
        "scale": 0.3,
    },
}


@pytest.mark.parametrize("queries", [5, 7, 9])
@pytest.mark.parametrize("option", OPTIONS)
def test_agrees_with_loops(rng, option, queries):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=queries, keys=7, head_dim=3, value_dim=2,
        dtype=np.float64, **OPTIONS[option](rng, queries),
    )  # fmt: skip
    out, lse = by_loops(problem.query, problem.key, problem.value, **problem.options)
    got, got_lse = problem.oracle()
    np.testing.assert_allclose(got, out, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(got_lse, lse, rtol=1e-13, atol=1e-14)


def test_more_queries_than_keys_leaves_the_first_rows_blind(rng):
    problem = make_problem(rng, queries=5, keys=3, causal=True, dtype=np.float64)
    got, lse = problem.oracle()
    np.testing.assert_array_equal(got[0, :2], 0)
    np.testing.assert_array_equal(lse[0, :2], -np.inf)
    np.testing.assert_allclose(got[0, 2], problem.value[0, 0])


def test_worked_example():
    """The four words of the well-known article, unscaled: e = exp(1) is all it takes."""
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    e = math.e
    weights = np.array([
        [e, 1, e, 1],
        [1, e, e, 1],
        [e, e, e * e, 1],
        [1, 1, 1, 1],
    ])  # fmt: skip
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(reference.weights(x, x, scale=1.0), weights, rtol=1e-15)
    np.testing.assert_allclose(reference.attention(x, x, x, scale=1.0), weights @ x, rtol=1e-15)


def test_two_keys_by_hand():
    query, key, value = [[2.0]], [[3.0], [3.0 - math.log(3) / 2]], [[0.0, 8.0], [4.0, 0.0]]
    out, lse = reference.attention(query, key, value, return_lse=True)
    np.testing.assert_allclose(out, [[1.0, 6.0]])  # weights 3/4 and 1/4
    np.testing.assert_allclose(lse, [6 + math.log(4 / 3)])


def test_window_counts_neighbours_without_the_token_itself():
    seen = reference.visible((1, 4, 4), window=(1, 0))
    np.testing.assert_array_equal(
        np.broadcast_to(seen, (1, 4, 4))[0].astype(int),
        [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]],
    )


def test_causal_alignments():
    lower = reference.visible((1, 2, 4), causal=True)
    upper = reference.visible((1, 2, 4), causal="upper_left")
    np.testing.assert_array_equal(lower.astype(int), [[1, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(upper.astype(int), [[1, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_masked_positions_do_not_leak(rng, bad):
    problem = make_problem(rng, queries=4, keys=6, dtype=np.float64)
    clean = problem.but(mask=np.arange(6) != 2).oracle()
    bias = np.zeros((4, 6))
    bias[:, 2] = bad
    for array in (problem.key, problem.value):
        array[0, 2] = bad
    dirty = problem.but(mask=np.arange(6) != 2, bias=bias).oracle()
    np.testing.assert_allclose(dirty[0], clean[0], rtol=1e-14)
    np.testing.assert_array_equal(dirty[1], clean[1])
    bias[:, 2] = -np.inf
    np.testing.assert_allclose(problem.but(bias=bias).oracle()[0], clean[0], rtol=1e-14)


@pytest.mark.parametrize("where", ["key", "value"])
def test_nan_reaches_the_rows_that_attend_it_and_no_other(rng, where):
    problem = make_problem(rng, queries=5, keys=5, dtype=np.float64, causal=True)
    clean, _ = problem.oracle()
    getattr(problem, where)[0, 3, 1] = np.nan
    dirty, _ = problem.oracle()
    np.testing.assert_allclose(dirty[0, :3], clean[0, :3], rtol=1e-14)
    column = slice(None) if where == "key" else 1
    assert np.isnan(dirty[0, 3:, column]).all()


def test_infinite_scores():
    value = [[1.0], [2.0]]
    up = reference.attention([[1.0]], [[np.inf], [0.0]], value, return_lse=True)
    down = reference.attention([[1.0]], [[-np.inf], [0.0]], value, return_lse=True)
    blind = reference.attention([[1.0]], [[-np.inf], [-np.inf]], value)
    assert np.isnan(up[0]).all()
    assert np.isnan(up[1]).all()
    np.testing.assert_array_equal(down[0], [[2.0]])
    assert np.isnan(blind).all(), "a row is blind by its masks, never by its scores"


def test_ranks_and_batch_axes(rng):
    problem = make_problem(rng, batch=(2, 3), heads=2, dtype=np.float64)
    query, key, value = problem.query, problem.key, problem.value
    whole, lse = problem.oracle()
    assert whole.shape == (2, 3, 2, 5, 8)
    assert lse.shape == (2, 3, 2, 5)
    one, one_lse = reference.attention(
        query[1, 2, 1], key[1, 2, 1], value[1, 2, 1], return_lse=True
    )
    assert one.shape == (5, 8)
    assert one_lse.shape == (5,)
    np.testing.assert_allclose(one, whole[1, 2, 1])
    row, row_lse = reference.attention(
        query[1, 2, 1, 4], key[1, 2, 1], value[1, 2, 1], return_lse=True
    )
    assert row.shape == (8,)
    assert row_lse.shape == ()
    np.testing.assert_allclose(row, whole[1, 2, 1, 4])
    shared = reference.attention(query, key[:, :1], value[0, 0])
    copies = [np.broadcast_to(a, b.shape) for a, b in ((key[:, :1], key), (value[0, 0], value))]
    np.testing.assert_allclose(shared, reference.attention(query, *copies))


@pytest.mark.parametrize("empty", ["queries", "keys", "heads", "batch", "value_dim"])
def test_empty_sizes(rng, empty):
    sizes = {"batch": (2,), "heads": 2, "queries": 3, "keys": 4, "head_dim": 5, "value_dim": 6}
    sizes[empty] = (0,) if empty == "batch" else 0
    out, lse = make_problem(rng, dtype=np.float64, **sizes).oracle()
    np.testing.assert_array_equal(out, np.zeros_like(out))
    assert out.shape == (*sizes["batch"], sizes["heads"], sizes["queries"], sizes["value_dim"])
    assert lse.shape == out.shape[:-1]
    if empty == "keys":
        np.testing.assert_array_equal(lse, -np.inf)


def test_weights_rows_sum_to_one_or_zero(rng):
    problem = make_problem(rng, heads=4, kv_heads=2, queries=6, keys=4, dtype=np.float64)
    p = reference.weights(problem.query, problem.key, causal=True, mask=rng.random((6, 4)) < 0.8)
    sees = p.any(axis=-1)
    assert p.shape == (4, 6, 4)
    assert sees.any()
    assert not sees.all()
    np.testing.assert_allclose(p.sum(axis=-1), sees)


def test_out_is_written_and_returned(rng):
    problem = make_problem(rng, dtype=np.float64)
    out = np.empty((1, 5, 8), dtype=np.float32)
    assert problem.but(out=out, num_threads=3).oracle()[0] is out
    np.testing.assert_array_equal(out, problem.oracle()[0].astype(np.float32))


def test_bad_arguments(rng):
    problem = make_problem(rng, heads=4, kv_heads=2)
    for match, changes in (
        ("causal", {"causal": "up"}),
        ("head_dim", {"key": problem.key[..., :-1]}),
        ("multiple", {"query": problem.query[:1]}),
        ("multiple", {"query": problem.query[:3]}),
        ("mismatch", {"key": problem.key[:, :-1]}),
        ("broadcast", {"mask": np.ones((5, 6), dtype=bool)}),
    ):
        with pytest.raises(ValueError, match=match):
            problem.but(**changes).oracle()
    with pytest.raises(TypeError, match="bool"):
        problem.but(mask=np.ones((5, 7))).oracle()


def test_signature_is_that_of_attention():
    ours = inspect.signature(reference.attention).parameters
    theirs = inspect.signature(regard.attention).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]
