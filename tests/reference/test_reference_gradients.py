"""The oracle's gradients against central differences of its forward pass, for every option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from gradient_problems import OPTIONS
from problems import Problem, make_problem
from regard import reference

STEP = 1e-6


SHAPE = (2, 4, 5, 6)


def gqa(rng, option: str) -> Problem:
    options = OPTIONS[option](rng, SHAPE, np.float64)
    batch, heads, queries, keys = SHAPE
    return make_problem(
        rng, batch=(batch,), heads=heads, kv_heads=2, queries=queries, keys=keys, head_dim=3,
        value_dim=2, dtype=np.float64, **options,
    )  # fmt: skip


def bias(rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def moved(problem: Problem, name: str, change: np.ndarray) -> Problem:
    """With one input moved."""
    if name in ("query", "key", "value"):
        return problem.but(**{name: getattr(problem, name) + change})
    if name == "position_bias":
        old = problem.options[name]
        table = old.table + change
        if isinstance(old, regard.bias.Relative):
            return problem.but(position_bias=regard.bias.Relative(table))
        if isinstance(old, regard.bias.T5):
            return problem.but(position_bias=regard.bias.T5(table, max_distance=old.max_distance))
        return problem.but(position_bias=regard.bias.Grid(table, old.height, old.width))
    return problem.but(**{name: problem.options[name] + change})


def check_differences(problem: Problem, found: Any, loss: Any, rng) -> None:
    """Directional derivatives along random directions, for every gradient found."""
    for name, gradient in zip(reference.Gradients._fields, found, strict=True):
        if gradient is None:
            assert problem.options.get(name) is None
            continue
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape)
            up = loss(moved(problem, name, STEP * direction))
            down = loss(moved(problem, name, -STEP * direction))
            expected = (up - down) / (2 * STEP)
            got = (gradient * direction).sum()
            assert got == pytest.approx(expected, rel=1e-6, abs=1e-7), name


def make_loss(problem: Problem, rng) -> tuple[Any, np.ndarray, np.ndarray]:
    """A loss that is linear in output and LSE, and its derivatives by them."""
    out, lse = problem.oracle()
    dout, dlse = rng.standard_normal(out.shape), rng.standard_normal(lse.shape)
    finite = np.isfinite(lse)

    def loss(moved: Problem) -> float:
        out, lse = moved.oracle()
        return float((out * dout).sum() + (lse[finite] * dlse[finite]).sum())

    return loss, dout, dlse


@pytest.mark.parametrize("option", OPTIONS)
def test_against_differences(rng, option):
    problem = gqa(rng, option)
    loss, dout, dlse = make_loss(problem, rng)
    arrays = problem.query, problem.key, problem.value
    found = reference.gradients(dout, *arrays, dlse=dlse, **problem.options)
    check_differences(problem, found, loss, rng)
    without = reference.gradients(dout, *arrays, **problem.options)
    dlse[...] = 0
    check_differences(problem, without, loss, rng)


def test_grid(rng):
    problem = make_problem(rng, heads=2, queries=6, keys=6, head_dim=3, dtype=np.float64)
    problem = problem.but(position_bias=regard.bias.Grid(bias(rng, 15, 2), 2, 3))
    loss, dout, dlse = make_loss(problem, rng)
    arrays = problem.query, problem.key, problem.value
    found = reference.gradients(dout, *arrays, dlse=dlse, **problem.options)
    check_differences(problem, found, loss, rng)


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 3), (6, 3), (6, 2)],
        [(3,), (6, 3), (6, 2)],
        [(2, 4, 5, 3), (4, 6, 3), (1, 4, 6, 2)],
        [(4, 5, 3), (3, 1, 2, 6, 3), (2, 2, 6, 2)],
    ],
)
def test_shapes_broadcast(rng, shapes):
    problem = Problem(*(rng.standard_normal(shape) for shape in shapes))
    loss, dout, dlse = make_loss(problem, rng)
    arrays = problem.query, problem.key, problem.value
    found = reference.gradients(dout, *arrays, dlse=dlse)
    check_differences(problem, found, loss, rng)


@pytest.mark.parametrize("option", OPTIONS)
def test_tangents_against_differences(rng, option):
    problem = gqa(rng, option)
    arrays = problem.query, problem.key, problem.value
    moves = [rng.standard_normal(x.shape) for x in arrays]
    out, lse, dout, dlse = reference.attention_jvp(*arrays, *moves, **problem.options)
    expected, expected_lse = problem.oracle()
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(lse, expected_lse)

    def at(step: float) -> tuple[np.ndarray, np.ndarray]:
        return Problem(
            *(x + step * dx for x, dx in zip(arrays, moves, strict=True)), problem.options
        ).oracle()

    (up, up_lse), (down, down_lse) = at(STEP), at(-STEP)
    np.testing.assert_allclose(dout, (up - down) / (2 * STEP), rtol=1e-6, atol=1e-7)
    finite = np.isfinite(lse)
    difference = (up_lse[finite] - down_lse[finite]) / (2 * STEP)
    np.testing.assert_allclose(dlse[finite], difference, rtol=1e-6, atol=1e-7)


def test_masked_poison_does_not_reach_gradients(rng):
    problem = gqa(rng, "plain").but(key_lengths=[4, 5], query_lengths=[5, 3])
    arrays = problem.query, problem.key, problem.value
    dout = rng.standard_normal(problem.oracle()[0].shape)
    expected = reference.gradients(dout, *arrays, **problem.options)
    query, key, value = (x.copy() for x in arrays)
    for n, (keys, queries) in enumerate(((4, 5), (5, 3))):
        key[n, :, keys:], value[n, :, keys:] = np.nan, np.inf
        query[n, :, queries:] = np.nan
        dout[n, :, queries:] = np.nan
    found = reference.gradients(dout, query, key, value, **problem.options)
    for one, other in zip(found, expected, strict=True):
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)


def test_pieces(rng):
    cu_q, cu_k = [0, 4, 4, 9], [0, 2, 3, 9]
    problem = Problem(
        rng.standard_normal((9, 4, 3)), rng.standard_normal((9, 2, 3)),
        rng.standard_normal((9, 2, 2)),
        {"causal": True, "bias": bias(rng, 4, 5, 6), "alibi_slopes": bias(rng, 4),
         "sinks": bias(rng, 4), "dropout": 0.2, "seed": 1,
         "position_bias": regard.bias.Relative(bias(rng, 5, 4))},
    )  # fmt: skip
    dout, dlse = rng.standard_normal((9, 4, 2)), rng.standard_normal((4, 9))

    def loss(moved: Problem) -> float:
        out, lse = reference.varlen_attention(
            moved.query, moved.key, moved.value, cu_q, cu_k, return_lse=True, **moved.options
        )
        return float((out * dout).sum() + (lse * dlse).sum())

    found = reference.varlen_gradients(
        dout, problem.query, problem.key, problem.value, cu_q, cu_k, dlse=dlse, **problem.options
    )
    check_differences(problem, found, loss, rng)
