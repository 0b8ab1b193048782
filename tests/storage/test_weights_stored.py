"""Weights and summaries of queries and keys of any storage type, and in pages."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from pages import paged
from problems import Problem, assert_close, make_problem
from regard import reference
from storage_types import FLOATS, rounded, stored

KINDS = (*FLOATS, "int8")


@pytest.fixture(params=KINDS)
def problem(request, rng):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=9, keys=96, head_dim=20, causal=True
    )
    key, scales = stored(problem.key, request.param)
    if scales is not None:
        return problem.but(key=key, key_scales=scales)
    return problem.but(key=key, query=rounded(problem.query, FLOATS[request.param]))


def weights_of(problem: Problem, **more) -> np.ndarray:
    return regard.attention_weights(problem.query, problem.key, **problem.options, **more)


def test_weights(isa, problem):
    expected = reference.weights(problem.query, problem.key, **problem.options)
    got = weights_of(problem)
    assert got.dtype == np.float32
    assert_close(got, expected, 1e-5)
    np.testing.assert_array_equal(weights_of(problem, rows=[-1, 2]), got[..., [-1, 2], :])


def test_weights_in_pages(isa, rng, problem):
    problem = problem.but(key_lengths=np.array([96, 50]))
    in_pages = paged(rng, problem.but(value=problem.key), 16)
    np.testing.assert_array_equal(weights_of(in_pages), weights_of(problem))
    np.testing.assert_array_equal(
        weights_of(in_pages, rows=[3], keys=[7, -1]), weights_of(problem, rows=[3], keys=[7, -1])
    )


def test_summary(isa, rng, problem):
    problem = problem.but(key_lengths=np.array([96, 50]))
    expected = reference.summary(problem.query, problem.key, pooled=(3, 4), **problem.options)
    got = regard.attention_summary(problem.query, problem.key, pooled=(3, 4), **problem.options)
    for name in ("lse", "entropy", "row_max", "top_weights", "column_sums", "pooled"):
        assert_close(getattr(got, name), getattr(expected, name), 2e-5)
    in_pages = paged(rng, problem.but(value=problem.key), 16)
    again = regard.attention_summary(
        in_pages.query, in_pages.key, pooled=(3, 4), **in_pages.options
    )
    for name in ("lse", "entropy", "top_indices", "column_sums", "pooled"):
        np.testing.assert_array_equal(getattr(again, name), getattr(got, name))


def test_scales_of_values_are_none_of_theirs(problem):
    with pytest.raises(TypeError, match="value_scales does not concern the scores"):
        weights_of(problem, value_scales=np.ones((2, 2, 96), np.float32))
