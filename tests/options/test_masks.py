"""Which keys a query sees: causal, windows, masks, biases, lengths, alone and together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import regard
from problems import (
    LAYOUTS,
    Problem,
    assert_same_bits,
    check,
    check_seen,
    make_problem,
    positions,
)

LENGTHS = [(1, 1), (5, 5), (70, 70), (1, 90), (90, 1), (50, 130), (130, 50), (64, 65), (49, 257)]


@pytest.mark.parametrize("kind", [True, "lower_right", "upper_left"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_causal(isa, rng, dtype, lengths, kind):
    queries, keys = lengths
    check_seen(positions(rng, dtype, queries=queries, keys=keys, heads=2, causal=kind))
    check(make_problem(rng, queries=queries, keys=keys, head_dim=16, dtype=dtype, causal=kind))


def test_causal_by_hand(isa, dtype):
    x = np.arange(1.0, 4.0, dtype=dtype)[:, np.newaxis]
    lower = regard.attention(x[:2], x, x, causal=True, scale=0.0)
    upper = regard.attention(x[:2], x, x, causal="upper_left", scale=0.0)
    np.testing.assert_allclose(lower[:, 0], [1.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(upper[:, 0], [1.0, 1.5], rtol=1e-6)


def test_lower_right_is_true_spelt_out(isa, rng, dtype):
    problem = make_problem(rng, queries=50, keys=90, dtype=dtype)
    spelt_out = problem.but(causal="lower_right").output_and_lse()
    assert_same_bits(problem.but(causal=True).output_and_lse(), spelt_out)
    assert_same_bits(problem.but(causal=np.True_).output_and_lse(), spelt_out)


WINDOWS = [
    0, 1, 5, 64, 10_000, (0, 0), (3, 0), (0, 3), (2, 70), (70, 2), (None, 0), (0, None), (4, None),
    (None, 4), (None, None), (65, 65), (None, -1), (-1, None), (None, -64), (-64, None), (40, -3),
    (-3, 40), (-5, 3), (-2, -2), -1, (-(2**70), None), (None, -(2**70)),
]  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_window(isa, rng, dtype, lengths, window):
    queries, keys = lengths
    for causal in (False, True, "upper_left"):
        problem = positions(rng, dtype, queries=queries, keys=keys, window=window, causal=causal)
        check_seen(problem)
    check(make_problem(rng, queries=queries, keys=keys, head_dim=12, dtype=dtype, window=window))


def test_window_by_hand(isa, dtype):
    """Self is not counted: (1, 0) sees itself and the key before."""
    x = np.arange(5.0, dtype=dtype)[:, np.newaxis]
    out = regard.attention(x, x, x, window=(1, 0), scale=0.0)
    np.testing.assert_allclose(out[:, 0], [0, 0.5, 1.5, 2.5, 3.5], rtol=1e-6)


@pytest.mark.parametrize("lengths", [(1, 90), (6, 600), (70, 70), (130, 50), (50, 600)])
@pytest.mark.parametrize(
    "window",
    [
        ([-1, None, -64, 3], 40), (None, [-1, -64, 0, None]),
        ([5, -9, None, 300], [None, 20, -7, -9]), (np.array([3, -1, 0, 64]), [-2, -1, None, -70]),
    ],
    ids=str,
)  # fmt: skip
def test_windows_of_heads_of_either_sign(isa, rng, dtype, lengths, window):
    queries, keys = lengths
    for causal in (False, True, "upper_left"):
        check_seen(
            positions(rng, dtype, queries=queries, keys=keys, heads=4, window=window, causal=causal)
        )


def test_a_lagged_window_by_hand(isa, dtype):
    """What sees nothing gives 0 and an LSE of -inf."""
    x = np.arange(5.0, dtype=dtype)[:, np.newaxis]
    for causal in (False, True):
        out, lse = regard.attention(
            x, x, x, window=(3, -2), scale=0.0, causal=causal, return_lse=True
        )
        np.testing.assert_allclose(out[:, 0], [0, 0, 0, 0.5, 1.5], rtol=1e-6)
        np.testing.assert_array_equal(np.isneginf(lse), [True, True, False, False, False])
    out = regard.attention(x, x, x, window=(-1, None), scale=0.0)
    np.testing.assert_allclose(out[:, 0], [2.5, 3, 3.5, 4, 0], rtol=1e-6)
    out, lse = regard.attention(x, x, x, window=(-3, 2), return_lse=True)
    assert not out.any()
    assert np.isneginf(lse).all()


@pytest.mark.parametrize("window", [(None, None), 10_000, (2**62, 2**62), (None, 2**62)])
def test_a_window_as_wide_as_the_keys_changes_nothing(isa, rng, dtype, window):
    problem = make_problem(rng, queries=60, keys=70, dtype=dtype)
    got = problem.but(window=window).output_and_lse()
    for one, other in zip(got, problem.output_and_lse(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


SHAPE = (2, 4, 50, 70)
PATTERNS = list(itertools.product((True, False), repeat=4))


def _patterned(pattern: tuple[bool, ...]) -> tuple[int, ...]:
    return tuple(n if keep else 1 for n, keep in zip(SHAPE, pattern, strict=True))


@pytest.fixture
def problem(rng, dtype):
    return make_problem(
        rng, batch=SHAPE[:1], heads=SHAPE[1], kv_heads=2, queries=SHAPE[2], keys=SHAPE[3],
        head_dim=12, dtype=dtype,
    )  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_mask_broadcasts_along_every_axis(isa, rng, problem, pattern):
    mask = rng.random(_patterned(pattern)) < 0.5
    got = problem.but(mask=mask).output_and_lse()
    check(problem.but(mask=mask), got)
    whole = np.broadcast_to(mask, SHAPE).copy()
    assert_same_bits(problem.but(mask=whole).output_and_lse(), got)
    while mask.ndim and mask.shape[0] == 1:
        mask = mask[0]
        assert_same_bits(problem.but(mask=mask).output_and_lse(), got)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bias_broadcasts_along_every_axis(isa, rng, problem, dtype, pattern):
    bias = rng.standard_normal(_patterned(pattern)).astype(dtype)
    bias[rng.random(bias.shape) < 0.2] = -np.inf
    got = problem.but(bias=bias).output_and_lse()
    check(problem.but(bias=bias), got)
    whole = np.broadcast_to(bias, SHAPE).copy()
    assert_same_bits(problem.but(bias=whole).output_and_lse(), got)
    while bias.ndim and bias.shape[0] == 1:
        bias = bias[0]
        assert_same_bits(problem.but(bias=bias).output_and_lse(), got)


def test_mask_of_rank_two_and_one(isa, rng, dtype):
    problem = make_problem(rng, queries=9, keys=11, dtype=dtype)
    flat = Problem(problem.query[0], problem.key[0], problem.value[0])
    for shape in ((9, 11), (11,), (9, 1), (1, 1), ()):
        mask = rng.random(shape) < 0.7
        check(flat.but(mask=mask))
        check(problem.but(mask=mask))


@pytest.mark.parametrize("layout", ["contiguous", "every third", "last axis reversed", "Fortran"])
def test_mask_bytes_that_are_neither_0_nor_1(isa, rng, problem, layout):
    """A bool array made by view may hold any byte; NumPy takes every one but 0 for True."""
    seen = rng.random(SHAPE) < 0.5
    store = np.where(seen, rng.integers(2, 256, SHAPE), 0).astype(np.uint8)
    lay_out = LAYOUTS.get(layout, np.ascontiguousarray)
    expected = problem.but(mask=seen).output_and_lse()
    assert_same_bits(problem.but(mask=lay_out(store).view(np.bool_)).output_and_lse(), expected)
    # Tiles of all True are told from mixed ones by their bytes too.
    store[...] = rng.integers(2, 256, SHAPE)
    expected = problem.but(mask=np.ones(SHAPE, bool)).output_and_lse()
    assert_same_bits(problem.but(mask=lay_out(store).view(np.bool_)).output_and_lse(), expected)


def test_mask_of_all_true_equals_none(isa, problem):
    check(problem, problem.but(mask=np.ones(SHAPE, dtype=bool)).output_and_lse())


@pytest.mark.parametrize("masked_by", ["mask", "bias"])
def test_mask_hides_whole_rows_tiles_and_heads(isa, rng, dtype, masked_by):
    problem = positions(rng, dtype, queries=100, keys=257, heads=3, batch=(2,))
    mask = rng.random(problem.score_shape) < 0.5
    mask[:, 1] = False
    mask[..., :49, :] = False
    mask[0, ..., 64:128] = False
    mask[1, ..., 255:] = False
    if masked_by == "mask":
        check_seen(problem.but(mask=mask))
    else:
        check_seen(problem.but(bias=np.where(mask, 0, -np.inf).astype(dtype)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"causal": "upper_left"},
        {"window": (5, 3)},
        {"causal": True, "window": (20, None)},
    ],
)
def test_key_lengths(isa, rng, dtype, options):
    lengths = np.array([0, 1, 63, 64, 65, 129, 130])
    problem = positions(
        rng, dtype, batch=(7,), heads=2, queries=66, keys=130, key_lengths=lengths, **options
    )
    check_seen(problem)
    check(problem.but(scale=None))


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": (4, 4)}])
def test_key_lengths_equal_shorter_keys(isa, rng, dtype, options):
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=20, keys=140, dtype=dtype, **options
    )
    lengths = [140, 65, 7]
    out, lse = problem.but(key_lengths=lengths).output_and_lse()
    for b, n in enumerate(lengths):
        short = problem.but(
            query=problem.query[b], key=problem.key[b, :, :n], value=problem.value[b, :, :n]
        )
        assert_same_bits((out[b], lse[b]), short.output_and_lse())


def test_key_lengths_broadcast_to_the_batch_axes(isa, rng, dtype):
    problem = make_problem(rng, batch=(2, 3), heads=2, queries=5, keys=9, dtype=dtype)
    for lengths in (4, [9, 0, 3], [[2], [7]], rng.integers(0, 10, (2, 3))):
        got = problem.but(key_lengths=lengths).output_and_lse()
        check(problem.but(key_lengths=lengths), got)
        whole = np.broadcast_to(lengths, (2, 3)).copy()
        assert_same_bits(problem.but(key_lengths=whole).output_and_lse(), got)
    flat = Problem(problem.query[0, 0, 0], problem.key[0, 0, 0], problem.value[0, 0, 0])
    check(flat.but(key_lengths=3))


BLIND = {
    "mask": lambda dtype: {"mask": np.zeros((), dtype=bool)},
    "bias": lambda dtype: {"bias": np.full((), -np.inf, dtype=dtype)},
    "key_lengths": lambda dtype: {"key_lengths": 0},
    "window": lambda dtype: {"window": (0, 0), "mask": ~np.eye(50, 70, 20, dtype=bool)},
    "causal": lambda dtype: {"causal": True, "key_lengths": 10, "mask": np.arange(70) >= 10},
}


@pytest.mark.parametrize("by", BLIND)
def test_rows_that_see_nothing(isa, problem, dtype, by):
    out, lse = problem.but(**BLIND[by](dtype)).output_and_lse()
    np.testing.assert_array_equal(out, np.zeros_like(out))
    assert not np.signbit(out).any()
    np.testing.assert_array_equal(lse, np.full_like(lse, -np.inf))


def test_options_compose_by_and(isa, rng, dtype):
    """Every combination of masking options counts exactly the keys that all of them leave."""
    rules = {
        "causal": [False, True, "upper_left"],
        "window": [None, (30, 5), (None, 20)],
        "mask": [None, rng.random((2, 2, 66, 130)) < 0.6],
        "bias": [None, np.where(rng.random((66, 130)) < 0.4, -np.inf, 0).astype(dtype)],
        "key_lengths": [None, np.array([130, 67])],
    }
    problem = positions(rng, dtype, batch=(2,), heads=2, queries=66, keys=130)
    for choice in itertools.product(*rules.values()):
        check_seen(problem.but(**dict(zip(rules, choice, strict=True))))
