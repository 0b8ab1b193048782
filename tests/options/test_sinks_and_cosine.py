"""Sinks, which are scores without a value, and cosine similarity."""

from __future__ import annotations

import math

import numpy as np
import pytest

import regard
from problems import assert_close, check, make_problem


@pytest.mark.parametrize("sink", [-1e4, -5.0, 0.0, 5.0, 1e4])
@pytest.mark.parametrize("keys", [1, 70, 600])
def test_sinks_by_hand(isa, dtype, keys, sink):
    """n scores of 0 and a sink: Z = n + exp(sink), of which the values get n."""
    zeros = np.zeros((1, 3, 2), dtype), np.zeros((1, keys, 2), dtype)
    out, lse = regard.attention(
        *zeros, np.ones((1, keys, 2), dtype), sinks=np.array([sink]), return_lse=True
    )
    expected = np.logaddexp(math.log(keys), sink)
    eps = float(np.finfo(dtype).eps)
    assert_close(lse, np.full((1, 3), expected), 8 * eps)
    weight = math.exp(math.log(keys) - expected)
    assert_close(out, np.full((1, 3, 2), weight), (8 + 2 * abs(sink)) * eps)


def test_rows_that_see_nothing_have_the_sink_alone(isa, dtype, rng):
    sinks = np.array([1.5, -np.inf, -700.0, 1e4], dtype)
    problem = make_problem(rng, heads=4, queries=50, keys=70, dtype=dtype, sinks=sinks)
    for blind in (
        {"mask": np.zeros((), bool)},
        {"bias": np.full((), -np.inf, dtype)},
        {"key_lengths": 0},
        {"query_offset": -60, "causal": True},
        {"query_offset": 1000, "window": 3},
    ):
        out, lse = problem.but(**blind).output_and_lse()
        np.testing.assert_array_equal(out, np.zeros_like(out))
        assert not np.signbit(out).any()
        expected = np.broadcast_to(sinks[:, np.newaxis], lse.shape)
        np.testing.assert_allclose(lse, expected, rtol=2 * np.finfo(dtype).eps)
    out, lse = make_problem(rng, heads=4, keys=0, dtype=dtype, sinks=sinks).output_and_lse()
    np.testing.assert_array_equal(out, np.zeros_like(out))
    np.testing.assert_allclose(lse[:, 0], sinks, rtol=2 * np.finfo(dtype).eps)


def test_cosine_by_hand(isa, dtype):
    """3-4-5 triangles; the scale is 1 by default, not 1 / sqrt(head_dim)."""
    query = np.array([[3, 4]], dtype)
    key = np.array([[10, 0], [0, 0.1], [-6, -8]], dtype)
    weights, lse = regard.attention(
        query, key, np.eye(3, dtype=dtype), similarity="cosine", return_lse=True
    )
    exact = np.exp([0.6, 0.8, -1.0])
    error = 10 * np.finfo(dtype).eps
    assert_close(weights[0], exact / exact.sum(), error)
    assert_close(lse, np.log(exact.sum(keepdims=True)), error)


@pytest.mark.parametrize("size", [1e-25, 1e-8, 1.0, 1e8, 1e25])
def test_cosine_does_not_depend_on_lengths(isa, dtype, rng, size):
    """Not even where the square of a norm is out of the range of float32."""
    problem = make_problem(
        rng, heads=2, queries=50, keys=70, dtype=dtype, similarity="cosine", scale=5.0
    )
    for name in ("query", "key"):
        check(problem.but(**{name: getattr(problem, name) * dtype(size)}))


def test_vectors_of_zeros_are_similar_to_nothing(isa, dtype, rng):
    problem = make_problem(rng, heads=2, queries=50, keys=70, dtype=dtype, similarity="cosine")
    problem.query[:, ::7] = 0
    problem.key[:, ::3] = 0
    check(problem)
    out = problem.attention()
    mean = problem.value.mean(axis=-2, dtype=np.float64)
    expected = np.broadcast_to(mean[:, np.newaxis], out[:, ::7].shape)
    assert_close(out[:, ::7], expected, 30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("head_dim", [1, 3, 16, 40, 129])
def test_cosine_of_any_head_dim(isa, dtype, rng, head_dim):
    problem = make_problem(
        rng, heads=2, kv_heads=1, queries=19, keys=70, head_dim=head_dim, dtype=dtype,
        similarity="cosine", scale=12.0,
    )  # fmt: skip
    check(problem)
