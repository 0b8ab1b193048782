"""What changes a score, alone and together; softcap, ALiBi and options of each head by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import regard
from problems import assert_close, assert_same_bits, check, check_seen, make_problem, positions

SHAPES = {
    "one query": {"queries": 1, "keys": 700, "head_dim": 64, "heads": 4, "kv_heads": 2},
    "over one tile": {"queries": 49, "keys": 65, "head_dim": 33, "heads": 4},
    "over two blocks": {"queries": 193, "keys": 257, "head_dim": 64, "heads": 4, "kv_heads": 2},
    "batch of groups": {"batch": (2,), "heads": 4, "kv_heads": 1, "queries": 50, "keys": 130},
}

# Of four heads.
OPTIONS = {
    "softcap": lambda rng: {"softcap": 0.8},
    "softcap that hardly bites": lambda rng: {"softcap": 50.0},
    "softcap of heads": lambda rng: {"softcap": np.array([0.2, 0.0, 3.0, 50.0])},
    "softcap causal": lambda rng: {"softcap": 2.0, "causal": True},
    "alibi": lambda rng: {"alibi_slopes": 2.0 ** -np.arange(2, 10, 2)},
    "alibi, steep": lambda rng: {"alibi_slopes": np.array([8.0, 0.0, -0.01, 1.0])},
    "alibi causal": lambda rng: {"alibi_slopes": 2.0 ** -np.arange(1, 5), "causal": True},
    "alibi upper_left": lambda rng: {"alibi_slopes": np.ones(4) / 9, "causal": "upper_left"},
    "alibi window": lambda rng: {"alibi_slopes": np.ones(4) / 9, "window": (40, 9)},
    "sinks": lambda rng: {"sinks": np.array([0.0, -2.0, 3.0, -np.inf])},
    "sinks causal": lambda rng: {"sinks": rng.standard_normal(4), "causal": True},
    "sink above all scores": lambda rng: {"sinks": np.array([30.0, 90.0, 700.0, 1.0])},
    "sink below all scores": lambda rng: {"sinks": np.array([-30.0, -90.0, -700.0, 1.0])},
    "cosine": lambda rng: {"similarity": "cosine"},
    "cosine scale": lambda rng: {"similarity": "cosine", "scale": -10.0, "causal": True},
    "cosine of heads": lambda rng: {
        "similarity": "cosine",
        "scale": np.array([10.0, 1.0, 0.0, 4.0]),
    },
    "scale of heads": lambda rng: {"scale": np.array([0.1, 0.0, -0.3, 0.2])},
    "window of heads": lambda rng: {"window": np.array([0, 3, -1, 70])},
    "windows of heads": lambda rng: {
        "window": (np.array([0, 3, -1, 70]), np.array([9, -1, 0, 0])),
        "causal": "upper_left",
    },
    "all": lambda rng: {
        "softcap": np.array([2.0, 0.0, 5.0, 1.0]),
        "alibi_slopes": 2.0 ** -np.arange(2, 10, 2),
        "sinks": np.array([0.0, -2.0, 3.0, -np.inf]),
        "similarity": "cosine",
        "scale": np.array([8.0, 1.0, -3.0, 2.0]),
        "window": (np.array([30, -1, 64, 100]), None),
        "causal": True,
    },
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_options(isa, dtype, rng, shape, option):
    problem = make_problem(rng, dtype=dtype, **SHAPES[shape], **OPTIONS[option](rng))
    check(problem)


@pytest.mark.parametrize("option", OPTIONS)
def test_options_meet_masks_and_biases(isa, dtype, rng, option):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=66, keys=140, dtype=dtype,
        **OPTIONS[option](rng),
    )  # fmt: skip
    mask = rng.random((2, 4, 66, 140)) < 0.5
    bias = rng.standard_normal((4, 66, 140)).astype(dtype)
    bias[rng.random(bias.shape) < 0.1] = -np.inf
    check(problem.but(mask=mask))
    check(problem.but(bias=bias))
    check(problem.but(mask=mask, bias=bias, key_lengths=[70, 139]))


@pytest.mark.parametrize("option", OPTIONS)
def test_threads_batch_and_heads_do_not_matter(isa, dtype, rng, option):
    """Bitwise, as for every other option: one thread or more, alone or in a batch."""
    options = OPTIONS[option](rng)
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=66, keys=140, dtype=dtype, **options
    )
    out, lse = problem.output_and_lse(num_threads=1)
    assert_same_bits(problem.output_and_lse(num_threads=3), (out, lse))
    alone = problem.but(query=problem.query[1], key=problem.key[1], value=problem.value[1])
    assert_same_bits(alone.output_and_lse(), (out[1], lse[1]))
    half = slice(2, 4)  # the query heads of the second kv head
    own = {
        name: tuple(_of_heads(side, half) for side in x)
        if isinstance(x, tuple)
        else _of_heads(x, half)
        for name, x in options.items()
    }
    heads = problem.but(
        query=problem.query[:, half], key=problem.key[:, 1:], value=problem.value[:, 1:], **own
    )
    assert_same_bits(heads.output_and_lse(), (out[:, half], lse[:, half]))


def _of_heads(x, heads):
    return x[heads] if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("option", OPTIONS)
def test_arrays_of_options_may_have_strides(isa, rng, option):
    options = OPTIONS[option](rng)
    problem = make_problem(rng, heads=4, queries=20, keys=30)
    strided = {
        n: np.repeat(x, 2)[::-2][::-1] if isinstance(x, np.ndarray) else x
        for n, x in options.items()
    }
    expected = problem.but(**options).output_and_lse()
    assert_same_bits(problem.but(**strided).output_and_lse(), expected)


# What is off is the same as not given.
OFF = {
    "softcap None": {"softcap": None},
    "softcap 0": {"softcap": 0},
    "softcap of heads": {"softcap": np.zeros(4)},
    "alibi None": {"alibi_slopes": None},
    "sinks None": {"sinks": None},
    "sinks": {"sinks": np.full(4, -np.inf)},
    "dot": {"similarity": "dot"},
    "window of heads": {"window": np.full(4, -1)},
    "dropout": {"dropout": 0.0, "seed": None},
    "dropout with a seed": {"dropout": 0, "seed": 3},
    "position_bias None": {"position_bias": None},
    "query_lengths None": {"query_lengths": None, "query_offset": None},
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("option", OFF)
def test_what_is_off_changes_nothing(isa, dtype, rng, option, causal):
    problem = make_problem(rng, heads=4, queries=50, keys=70, dtype=dtype, causal=causal)
    check(problem, problem.but(**OFF[option]).output_and_lse())


@pytest.mark.parametrize("name", ["scale", "softcap", "window"])
def test_one_number_for_each_head_equals_one_for_all(isa, dtype, rng, name):
    problem = make_problem(rng, heads=4, kv_heads=2, queries=50, keys=140, dtype=dtype)
    number = {"scale": 0.5, "softcap": 2.0, "window": 9}[name]
    of_heads = problem.but(**{name: np.full(4, number)}).output_and_lse()
    assert_same_bits(of_heads, problem.but(**{name: number}).output_and_lse())


@pytest.mark.parametrize(
    "window", [0, 5, (3, 0), (None, 2), (70, None), (64, 65)], ids=lambda w: str(w)
)
def test_windows_of_heads_count_exactly(isa, dtype, rng, window):
    """Each head has the window it would have by itself, next to heads with others."""
    left, right = window if isinstance(window, tuple) else (window, window)
    sides = tuple(np.array([-1 if side is None else side, 0, -1, 40]) for side in (left, right))
    for causal in (False, True, "upper_left"):
        check_seen(
            positions(rng, dtype, queries=100, keys=257, heads=4, window=sides, causal=causal)
        )


def test_softcap_by_hand(isa, dtype):
    """Scores 2 and 0 under a cap of 1: the first becomes tanh(2)."""
    query, key = np.ones((1, 1), dtype), np.array([[2], [0]], dtype)
    value = np.array([[1], [0]], dtype)
    out, lse = regard.attention(query, key, value, scale=1.0, softcap=1.0, return_lse=True)
    e = math.exp(math.tanh(2))
    assert_close(out, np.array([[e / (e + 1)]]), 8 * np.finfo(dtype).eps)
    assert_close(lse, np.array([math.log(e + 1)]), 8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("cap", [1e-3, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("largest", [1e-6, 1e-2, 1.0, 40.0, 1e4])
def test_softcap_of_small_and_large_scores(isa, dtype, cap, largest):
    """One key: the LSE is the capped score itself, and has to be as precise."""
    score = np.concatenate([np.linspace(-1, 1, 101), [0.0]]).astype(dtype) * dtype(largest)
    query, key = score[np.newaxis, :, np.newaxis], np.ones((1, 1, 1), dtype)
    _, lse = regard.attention(query, key, key, scale=1.0, softcap=cap, return_lse=True)
    expected = cap * np.tanh(score.astype(np.longdouble) / cap)
    error = np.abs(lse[0] - expected)
    assert (error <= 8 * np.finfo(dtype).eps * np.maximum(np.abs(expected), 1)).all()


def test_softcap_comes_before_what_is_added(isa, dtype, rng):
    """A cap bounds the products, not the bias: the LSE of one key may be far above it."""
    problem = make_problem(rng, heads=2, queries=5, keys=1, dtype=dtype, softcap=1.0)
    bias = np.full((1, 1), 100, dtype)
    check(problem.but(bias=bias, alibi_slopes=np.array([-50.0, 3.0])))


def test_alibi_by_hand(isa, dtype):
    """The last query stands at the last key; each step away costs the slope."""
    zeros = np.zeros((3, 1), dtype)
    value = np.eye(3, dtype=dtype)
    weights = regard.attention(zeros[:2], zeros, value, alibi_slopes=[math.log(2)])
    expected = np.array([[1, 2, 1], [1, 2, 4]]) / [[4], [7]]
    assert_close(weights, expected, 8 * np.finfo(dtype).eps)


def test_alibi_of_elements(isa, dtype, rng):
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=50, keys=70, dtype=dtype, causal=True
    )
    slopes = rng.random((3, 4))
    out, lse = problem.but(alibi_slopes=slopes).output_and_lse()
    check(problem.but(alibi_slopes=slopes), (out, lse))
    for b in range(3):
        alone = problem.but(
            query=problem.query[b], key=problem.key[b], value=problem.value[b],
            alibi_slopes=slopes[b],
        )  # fmt: skip
        assert_same_bits((out[b], lse[b]), alone.output_and_lse())
    for shape in ((3, 1), (1, 4), (1,)):
        check(problem.but(alibi_slopes=rng.random(shape)))


def test_alibi_follows_the_lengths_of_an_element(isa, dtype, rng):
    problem = make_problem(
        rng, batch=(3,), heads=2, queries=20, keys=140, dtype=dtype, key_lengths=[140, 65, 7],
        alibi_slopes=np.array([0.5, 0.1]),
    )  # fmt: skip
    check(problem)
    check(problem.but(query_lengths=[20, 1, 13]))
    check(problem.but(query_offset=[0, -30, 500]))
    check(problem.but(causal="upper_left"))


def test_alibi_over_long_distances(isa, dtype):
    """Positions have to be exact far from the origin: neighbours differ by one slope."""
    keys = 3000
    zeros = np.zeros((1, keys, 1), dtype)
    value = np.ones((1, keys, 1), dtype)
    slope = 0.25
    _, lse = regard.attention(
        zeros[:, :3], zeros, value, alibi_slopes=[slope], query_offset=keys - 3, return_lse=True
    )
    p = np.arange(keys - 3, keys)[:, np.newaxis]
    exact = np.log(np.exp(-slope * np.abs(p - np.arange(keys))).sum(axis=-1))
    assert_close(lse[0], exact, 20 * np.finfo(dtype).eps)
