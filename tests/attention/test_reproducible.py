"""Bitwise the same, whatever else is in the call: threads, batch, heads, neighbours."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_same_bits, make_problem

SHAPES = {
    "full": {"queries": 130, "keys": 300, "head_dim": 64},
    "causal": {"queries": 130, "keys": 300, "head_dim": 33, "causal": True},
    "short": {"queries": 30, "keys": 40, "head_dim": 32},
    "decode": {"queries": 1, "keys": 1500, "head_dim": 64},
    "few queries": {"queries": 4, "keys": 1100, "head_dim": 48, "causal": True},
    "more queries": {"queries": 9, "keys": 1100, "head_dim": 48, "causal": True},
    "window": {"queries": 200, "keys": 200, "head_dim": 16, "window": (40, 3)},
}


@pytest.fixture(params=SHAPES)
def problem(request, rng, dtype):
    sizes = SHAPES[request.param]
    return make_problem(rng, batch=(3,), heads=4, kv_heads=2, dtype=dtype, **sizes)


def with_masks(rng, problem):
    shape = problem.score_shape
    return problem.but(
        mask=rng.random(shape) < 0.7,
        bias=rng.standard_normal(shape).astype(problem.query.dtype),
        key_lengths=np.array([shape[-1], shape[-1] - 7, shape[-1] // 2]),
    )


def test_threads(isa, rng, problem):
    for each in (problem, with_masks(rng, problem)):
        expected = each.output_and_lse(num_threads=1)
        for threads in (2, 3, 5, 64, None):
            assert_same_bits(each.output_and_lse(num_threads=threads), expected)


def test_threads_in_large_work(isa, rng, dtype):
    """Enough work that no rule for small calls keeps it on one thread."""
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=1, queries=520, keys=700, head_dim=64, dtype=dtype,
        causal=True,
    )  # fmt: skip
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 5):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)


def test_repeated_calls(isa, problem):
    expected = problem.output_and_lse()
    for _ in range(3):
        assert_same_bits(problem.output_and_lse(), expected)


def test_batch_size_and_position_in_the_batch(isa, rng, problem):
    for each in (problem, with_masks(rng, problem)):
        out, lse = each.output_and_lse()
        for b in range(3):
            options = {
                name: array[b]
                for name, array in each.options.items()
                if name in ("mask", "bias", "key_lengths")
            }
            alone = each.but(query=each.query[b], key=each.key[b], value=each.value[b], **options)
            assert_same_bits((out[b], lse[b]), alone.output_and_lse())
    order = [2, 0, 1, 2, 2]
    shuffled = problem.but(
        query=problem.query[order], key=problem.key[order], value=problem.value[order]
    )
    out, lse = problem.output_and_lse()
    assert_same_bits(shuffled.output_and_lse(), (out[order], lse[order]))


def test_heads_alone_equal_heads_together(isa, rng, problem):
    for each in (problem, with_masks(rng, problem)):
        out, lse = each.output_and_lse()
        for g in range(2):
            heads = slice(2 * g, 2 * g + 2)
            options = {
                name: array[:, heads]
                for name, array in each.options.items()
                if name in ("mask", "bias")
            }
            alone = each.but(
                query=each.query[:, heads],
                key=each.key[:, g : g + 1],
                value=each.value[:, g : g + 1],
                **options,
            )
            assert_same_bits((out[:, heads], lse[:, heads]), alone.output_and_lse())


def test_groups_equal_repeated_heads(isa, rng, problem):
    for each in (problem, with_masks(rng, problem)):
        repeated = each.but(
            key=np.repeat(each.key, 2, axis=-3), value=np.repeat(each.value, 2, axis=-3)
        )
        assert_same_bits(repeated.output_and_lse(), each.output_and_lse())


def test_batch_axes_equal_heads(isa, dtype, rng):
    """(6, 1, S, D), (2, 3, S, D) and (1, 6, S, D) are the same six problems."""
    arrays = [rng.standard_normal((6, n, 24)).astype(dtype) for n in (70, 90, 90)]
    expected = regard.attention(*arrays)
    for shape in ((6, 1), (2, 3), (1, 6), (3, 1, 2)):
        shaped = (a.reshape(*shape, *a.shape[1:]) for a in arrays)
        got = regard.attention(*shaped).reshape(expected.shape)
        assert_same_bits(got, expected)


def test_what_the_others_hold_does_not_matter(isa, problem):
    """NaN in one element takes a slower path there; the others keep their bits."""
    out, lse = problem.output_and_lse()
    value, key = problem.value.copy(), problem.key.copy()
    value[1] = np.nan
    key[1] = np.inf
    dirty = problem.but(key=key, value=value).output_and_lse()
    for b in (0, 2):
        assert_same_bits((dirty[0][b], dirty[1][b]), (out[b], lse[b]))


def test_return_lse_does_not_change_the_output(isa, problem):
    assert_same_bits(problem.attention(), problem.output_and_lse()[0])
