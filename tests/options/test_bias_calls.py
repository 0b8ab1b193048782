"""Biases by position as options of a call: they add what their dense arrays hold."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_close, assert_same_bits, check, make_problem
from regard import bias

LENGTHS = [(1, 1), (1, 300), (70, 1), (50, 70), (130, 50), (193, 257)]


def biases(rng, heads: int, dtype=np.float64) -> dict[str, bias.PositionBias]:
    def table(rows, columns=heads):
        return rng.standard_normal((rows, columns)).astype(dtype)

    return {
        "one number": bias.Relative(table(1)),
        "short reach": bias.Relative(table(7)),
        "long reach": bias.Relative(table(1201)),
        "one head": bias.Relative(table(101)[:, 0]),
        "T5 encoder": bias.T5(table(32)),
        "T5 decoder": bias.T5(table(32), bidirectional=False),
        "T5 near": bias.T5(table(8, 1), max_distance=20),
    }


NAMES = list(biases(np.random.default_rng(), 1))


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_the_oracle(isa, dtype, rng, lengths, name):
    queries, keys = lengths
    problem = make_problem(
        rng, heads=4, kv_heads=2, queries=queries, keys=keys, dtype=dtype,
        position_bias=biases(rng, 4)[name],
    )  # fmt: skip
    check(problem)
    check(problem.but(causal=True))


OPTIONS = {
    "upper_left": lambda rng, dtype: {"causal": "upper_left"},
    "window": lambda rng, dtype: {"window": (30, 5)},
    "bias": lambda rng, dtype: {
        "bias": np.where(rng.random((4, 66, 140)) < 0.3, -np.inf, 1).astype(dtype)
    },
    "mask": lambda rng, dtype: {"mask": rng.random((2, 1, 66, 140)) < 0.5},
    "key_lengths": lambda rng, dtype: {"key_lengths": [70, 139]},
    "both lengths": lambda rng, dtype: {"key_lengths": [70, 139], "query_lengths": [66, 9]},
    "query_offset": lambda rng, dtype: {"query_offset": [500, -20]},
    "scores": lambda rng, dtype: {
        "softcap": 1.0,
        "alibi_slopes": np.ones(4) / 8,
        "sinks": np.ones(4),
        "similarity": "cosine",
    },
    "dropout": lambda rng, dtype: {"dropout": 0.4, "seed": 11},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["short reach", "T5 encoder"])
def test_with_the_other_options(isa, dtype, rng, name, option):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=66, keys=140, dtype=dtype,
        position_bias=biases(rng, 4)[name], **OPTIONS[option](rng, dtype),
    )  # fmt: skip
    check(problem)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_same_numbers_as_a_bias(isa, dtype, rng, name):
    problem = make_problem(rng, heads=4, queries=66, keys=140, dtype=dtype)
    position_bias = biases(rng, 4, dtype)[name]
    dense = position_bias.to_dense(66, 140, 74).astype(dtype)
    check(problem.but(bias=dense), problem.but(position_bias=position_bias).output_and_lse())


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_another_float_type(isa, dtype, rng, name):
    """They are converted, so that weights of a float32 model serve a float64 call."""
    other = np.float64 if dtype == np.float32 else np.float32
    problem = make_problem(rng, heads=4, queries=50, keys=70, dtype=dtype)
    check(problem.but(position_bias=biases(rng, 4, other)[name]))


def test_relative_by_hand(isa, dtype):
    """The last query stands at the last key; distances beyond the table take its ends."""
    zeros = np.zeros((4, 1), dtype)
    weights = regard.attention(
        zeros[:2], zeros, np.eye(4, dtype=dtype), position_bias=bias.Relative(np.log([1, 2, 3]))
    )
    # Distances j - p from positions 2 and 3: -2 -1 0 1, and -3 -2 -1 0.
    expected = np.array([[1, 1, 2, 3], [1, 1, 1, 2]]) / [[7], [5]]
    assert_close(weights, expected, 8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("window", [(1, 1), (7, 7), (12, 12), (3, 20)], ids=str)
@pytest.mark.parametrize("heads", [1, 4])
def test_grid(isa, dtype, rng, window, heads):
    height, width = window
    table = rng.standard_normal(((2 * height - 1) * (2 * width - 1), heads))
    pixels = height * width
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=pixels, keys=pixels, head_dim=32,
        dtype=dtype, position_bias=bias.Grid(table, height, width),
    )  # fmt: skip
    check(problem)
    # The shifted windows of Swin come with a mask for each of them.
    check(problem.but(mask=rng.random((3, 1, pixels, pixels)) < 0.7))


def test_grid_by_hand(isa, dtype):
    """Pixels 0 1 over 2 3; the entries are numbered by (yi - yj, xi - xj)."""
    table = np.arange(9.0)[:, np.newaxis]
    zeros = np.zeros((4, 1), dtype)
    weights = regard.attention(
        zeros, zeros, np.eye(4, dtype=dtype), position_bias=bias.Grid(table, 2, 2)
    )
    # From pixel 0: itself (0, 0) is entry 4, pixel 1 (0, -1) 3, pixel 2 (-1, 0) 1, pixel 3 0.
    expected = np.exp([4.0, 3, 1, 0])
    assert_close(weights[0], expected / expected.sum(), 20 * np.finfo(dtype).eps)


def test_large_biases(isa, dtype, rng):
    """Up to 1e4, without overflow: all weight on one distance."""
    table = np.zeros((21, 2))
    table[3], table[15] = 1e4, -1e4
    problem = make_problem(
        rng, heads=2, queries=66, keys=140, dtype=dtype, position_bias=bias.Relative(table)
    )
    check(problem)


def test_threads_batch_and_heads_do_not_matter(isa, dtype, rng):
    table = rng.standard_normal((41, 4)).astype(dtype)
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=130, keys=260, dtype=dtype,
        position_bias=bias.Relative(table),
    )  # fmt: skip
    out, lse = problem.output_and_lse(num_threads=1)
    assert_same_bits(problem.output_and_lse(num_threads=3), (out, lse))
    alone = problem.but(
        query=problem.query[1, 2:], key=problem.key[1, 1:], value=problem.value[1, 1:],
        position_bias=bias.Relative(table[:, 2:]),
    )  # fmt: skip
    assert_same_bits(alone.output_and_lse(), (out[1, 2:], lse[1, 2:]))


def test_a_bias_with_another_table():
    bias = regard.bias.T5(np.zeros((8, 2), np.float32), bidirectional=False, max_distance=16)
    table = np.arange(16.0).reshape(8, 2)
    other = bias.with_table(table)
    assert not bias.table.any()
    same = regard.bias.T5(table, bidirectional=False, max_distance=16)
    np.testing.assert_array_equal(other.to_dense(3, 9, 6), same.to_dense(3, 9, 6))
    with pytest.raises(ValueError, match=r"T5: table has shape \(10, 2\)"):
        bias.with_table(np.zeros((10, 2)))
