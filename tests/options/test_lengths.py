"""Query lengths and offsets: which rows there are, and where they stand among the keys."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import Problem, assert_same_bits, check, check_seen, make_problem, positions

# Options that need positions, and some that do not.
WHERE = {
    "plain": {},
    "causal": {"causal": True},
    "upper_left": {"causal": "upper_left"},
    "window": {"window": (5, 3)},
    "causal window": {"causal": True, "window": (20, None)},
}


@pytest.mark.parametrize("where", WHERE)
def test_query_lengths(isa, rng, dtype, where):
    """Of no row to all of them, with blocks that end within, at and next to a length."""
    lengths = np.array([0, 1, 47, 48, 49, 99, 100])
    problem = positions(
        rng, dtype, batch=(7,), heads=2, queries=100, keys=130, query_lengths=lengths,
        **WHERE[where],
    )  # fmt: skip
    check_seen(problem)
    check(problem.but(scale=None))


@pytest.mark.parametrize("where", WHERE)
def test_both_lengths(isa, rng, dtype, where):
    problem = positions(
        rng, dtype, batch=(5,), heads=2, queries=66, keys=130,
        query_lengths=[0, 66, 7, 40, 66], key_lengths=[130, 0, 65, 5, 129], **WHERE[where],
    )  # fmt: skip
    check_seen(problem)
    check(problem.but(scale=None))


@pytest.mark.parametrize("where", WHERE)
def test_rows_past_their_length_are_zero(isa, rng, dtype, where):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=70, keys=90, dtype=dtype, **WHERE[where]
    ).but(query_lengths=[13, 69], sinks=np.array([1.0, -2.0, -np.inf, 9.0]))
    out = np.full((2, 4, 70, 8), np.nan, dtype)
    got, lse = problem.output_and_lse(out=out)
    assert got is out
    for b, n in enumerate([13, 69]):
        np.testing.assert_array_equal(out[b, :, n:], 0)
        assert not np.signbit(out[b, :, n:]).any()
        # The sink is not in it: there is no such row.
        np.testing.assert_array_equal(lse[b, :, n:], -np.inf)
        assert np.isfinite(lse[b, [0, 1, 3], :n]).all()


@pytest.mark.parametrize("where", WHERE)
def test_lengths_equal_shorter_arrays(isa, rng, dtype, where):
    problem = make_problem(
        rng, batch=(4,), heads=4, kv_heads=2, queries=70, keys=140, dtype=dtype, **WHERE[where]
    )
    rows, keys = [70, 65, 7, 1], [140, 65, 129, 3]
    out, lse = problem.but(query_lengths=rows, key_lengths=keys).output_and_lse()
    for b, (m, n) in enumerate(zip(rows, keys, strict=True)):
        short = problem.but(
            query=problem.query[b, :, :m], key=problem.key[b, :, :n], value=problem.value[b, :, :n]
        )
        assert_same_bits((out[b, :, :m], lse[b, :, :m]), short.output_and_lse())


@pytest.mark.parametrize("name", ["query_lengths", "query_offset", "key_lengths"])
def test_they_broadcast_to_the_batch_axes(isa, rng, dtype, name):
    problem = make_problem(rng, batch=(2, 3), heads=2, queries=9, keys=9, dtype=dtype, causal=True)
    given = [4, np.int16(3), [9, 0, 3], [[2], [7]], rng.integers(0, 10, (2, 3))]
    given += [
        np.array([[1], [2]], np.uint8),
        np.arange(12, dtype=np.int32).reshape(2, 6)[:, ::2] % 9,
    ]
    for numbers in given:
        got = problem.but(**{name: numbers}).output_and_lse()
        check(problem.but(**{name: np.asarray(numbers)}), got)
        whole = np.broadcast_to(numbers, (2, 3)).copy()
        assert_same_bits(problem.but(**{name: whole}).output_and_lse(), got)
    flat = Problem(problem.query[0, 0, 0], problem.key[0, 0, 0], problem.value[0, 0, 0])
    check(flat.but(causal=True, **{name: 3}))


OFFSETS = [0, 1, -1, 7, -50, 63, 64, 65, 129, 300, -300, 10**12, -(10**12)]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("offset", OFFSETS)
def test_query_offset(isa, rng, dtype, where, offset):
    """It overrides the alignment of every kind of causal mask and window."""
    options = WHERE[where] | {"query_offset": offset}
    check_seen(positions(rng, dtype, queries=66, keys=130, heads=2, **options))
    check(make_problem(rng, queries=66, keys=130, dtype=dtype, **options))


def test_query_offsets_of_elements(isa, rng, dtype):
    problem = positions(
        rng, dtype, batch=(6,), heads=2, queries=50, keys=130, causal=True, window=(40, None),
        query_offset=[0, -20, 80, 500, 17, -1000], key_lengths=[130, 130, 90, 130, 1, 0],
        query_lengths=[50, 49, 50, 1, 50, 50],
    )  # fmt: skip
    check_seen(problem)
    check(problem.but(scale=None))


@pytest.mark.parametrize("where", ["causal", "window", "causal window"])
def test_the_offset_that_is_the_rule_changes_nothing(isa, rng, dtype, where):
    problem = make_problem(rng, queries=50, keys=130, dtype=dtype, **WHERE[where])
    assert_same_bits(problem.but(query_offset=80).output_and_lse(), problem.output_and_lse())
    at_zero = problem.but(query_offset=0).output_and_lse()
    if "causal" in WHERE[where]:
        upper_left = problem.but(causal="upper_left").output_and_lse()
        assert_same_bits(upper_left, at_zero)


def test_a_prefix_in_pieces(isa, rng, dtype):
    """Queries that come a few at a time, each at its offset, are the causal rows of all."""
    problem = make_problem(rng, heads=2, queries=130, keys=130, dtype=dtype, causal=True)
    whole = problem.oracle()
    for first, last in ((0, 1), (1, 50), (50, 128), (128, 130)):
        piece = problem.but(query=problem.query[:, first:last], query_offset=first)
        check(piece)
        np.testing.assert_allclose(piece.oracle()[0], whole[0][:, first:last], rtol=1e-12)


def test_offset_by_hand(isa, dtype):
    x = np.arange(4.0, dtype=dtype)[:, np.newaxis]
    out = regard.attention(x[:2], x, x, causal=True, scale=0.0, query_offset=1)
    np.testing.assert_allclose(out[:, 0], [0.5, 1.0], rtol=1e-6)
    out = regard.attention(x[:2], x, x, causal=True, scale=0.0, query_offset=-1)
    np.testing.assert_allclose(out[:, 0], [0.0, 0.0], rtol=1e-6)
    out = regard.attention(x[:2], x, x, window=(1, 0), scale=0.0, query_lengths=1)
    np.testing.assert_allclose(out[:, 0], [2.5, 0.0], rtol=1e-6)


def test_threads_do_not_matter(isa, rng, dtype):
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=130, keys=260, dtype=dtype, causal=True,
        query_lengths=[130, 50, 3], key_lengths=[200, 260, 100], query_offset=[70, -10, 5],
    )  # fmt: skip
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 5):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)
