"""The oracle's packed pieces and its summary of weights, against loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from problems import make_problem
from regard import reference
from regard.reference.philox import factors
from stand_ins import DenseMask, DistanceTable

CUTS_Q, CUTS_K = [0, 3, 3, 8, 9], [0, 4, 6, 11, 11]


def packed(rng):
    return (rng.standard_normal((n, h, 4)) for n, h in ((9, 4), (11, 2), (11, 2)))


OPTIONS = {
    "plain": lambda rng: ({}, lambda n, nq, nk: {}),
    "causal": lambda rng: ({"causal": True}, lambda n, nq, nk: {"causal": True}),
    "mask": lambda rng: _pairs("mask", rng.random((4, 4, 5, 5)) < 0.6),
    "mask of heads": lambda rng: _pairs("mask", rng.random((4, 1, 5)) < 0.6),
    "bias": lambda rng: _pairs("bias", rng.standard_normal((4, 1, 5, 5))),
    "lengths": lambda rng: (
        {"key_lengths": [3, 1, 5, 0], "query_lengths": [3, 0, 4, 0], "window": (1, 2)},
        lambda n, nq, nk: {
            "key_lengths": [3, 1, 5, 0][n],
            "query_lengths": [3, 0, 4, 0][n],
            "window": (1, 2),
        },
    ),
    "offset": lambda rng: (
        {"query_offset": [1, 0, -1, 2], "causal": True},
        lambda n, nq, nk: {"query_offset": [1, 0, -1, 2][n], "causal": True},
    ),
    "alibi": lambda rng: _by_piece("alibi_slopes", rng.random((4, 4))),
    "alibi of heads": lambda rng: _same(alibi_slopes=rng.random(4)),
    "position_bias": lambda rng: _same(position_bias=DistanceTable(rng.random((7, 4)))),
    "sinks": lambda rng: _same(sinks=rng.random(4), scale=rng.random(4), softcap=2.0),
    "cosine": lambda rng: _same(similarity="cosine", window=np.array([1, -1, 0, 2])),
}


def _same(**options):
    return options, lambda n, nq, nk: options


def _by_piece(name, x):
    return {name: x}, lambda n, nq, nk: {name: x[n]}


def _pairs(name, x):
    """An option of pairs, of which a piece takes the upper left corner."""
    full = np.broadcast_to(x, (4, 4, 5, 5))
    return {name: x}, lambda n, nq, nk: {name: full[n, :, :nq, :nk]}


@pytest.mark.parametrize("option", OPTIONS)
def test_pieces_are_attended_to_one_by_one(rng, option):
    query, key, value = packed(rng)
    options, of_piece = OPTIONS[option](rng)
    out, lse = reference.varlen_attention(
        query, key, value, CUTS_Q, CUTS_K, return_lse=True, **options
    )
    assert out.shape == (9, 4, 4)
    assert lse.shape == (4, 9)
    for n in range(4):
        rows, keys = slice(*CUTS_Q[n : n + 2]), slice(*CUTS_K[n : n + 2])
        arrays = (np.moveaxis(x, 1, 0) for x in (query[rows], key[keys], value[keys]))
        alone, alone_lse = reference.attention(
            *arrays, return_lse=True, **of_piece(n, rows.stop - rows.start, keys.stop - keys.start)
        )
        np.testing.assert_allclose(np.moveaxis(out[rows], 1, 0), alone, rtol=1e-13)
        np.testing.assert_allclose(lse[:, rows], alone_lse, rtol=1e-13)


def test_dropout_numbers_the_pieces(rng):
    query, key, value = packed(rng)
    got = reference.varlen_attention(query, key, value, CUTS_Q, CUTS_K, dropout=0.5, seed=8)
    rows, keys = slice(3, 8), slice(6, 11)  # piece 2
    key, value = (np.repeat(np.moveaxis(x[keys], 1, 0), 2, axis=0) for x in (key, value))
    p = reference.weights(np.moveaxis(query[rows], 1, 0), key)
    p = p * factors(0.5, 8, np.array([2]), (4, 5, 5))[0]
    np.testing.assert_allclose(np.moveaxis(got[rows], 1, 0), p @ value, rtol=1e-13)


def test_packed_out_and_mask_objects(rng):
    query, key, value = packed(rng)
    mask = rng.random((4, 1, 5, 5)) < 0.5
    expected = reference.varlen_attention(query, key, value, CUTS_Q, CUTS_K, mask=mask)
    out = np.zeros((9, 4, 4), np.float32)
    got = reference.varlen_attention(
        query, key, value, CUTS_Q, CUTS_K, mask=DenseMask(mask), out=out, num_threads=2
    )
    assert got is out
    np.testing.assert_array_equal(out, expected.astype(np.float32))


@pytest.mark.parametrize(
    "cuts",
    [[1, 3, 3, 8, 9], [0, 3, 2, 8, 9], [0, 3, 3, 8, 8], [0, 9], [0.0, 3, 3, 8, 9], [], [[0, 9]]],
)
def test_bad_cuts(rng, cuts):
    with pytest.raises(ValueError, match="cu_seqlens_q"):
        reference.varlen_attention(*packed(rng), cuts, CUTS_K)


def test_no_pieces():
    empty = np.zeros((0, 2, 3))
    out = reference.varlen_attention(empty, empty, empty, [0], [0])
    assert out.shape == (0, 2, 3)


def entropy(row):
    return -sum(w * math.log(w) for w in row.tolist() if w > 0)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"causal": True, "sinks": np.ones(4)}])
def test_summary_by_loops(rng, options):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=9, keys=7, dtype=np.float64, **options
    )
    p = reference.weights(problem.query, problem.key, **options)
    sees = problem.sees
    facts = reference.summary(problem.query, problem.key, top_k=4, pooled=(4, 3), **options)
    np.testing.assert_array_equal(facts.lse, problem.oracle()[1])
    for b, h in np.ndindex(2, 4):
        for j in range(7):
            total = sum(p[b, h, i, j] for i in range(9))
            assert facts.column_sums[b, h, j] == pytest.approx(total, rel=1e-13)
        for i in range(9):
            assert facts.entropy[b, h, i] == pytest.approx(entropy(p[b, h, i]), rel=1e-12)
            assert facts.row_max[b, h, i] == max(p[b, h, i])
            seen = [j for j in range(7) if sees[b, h, i, j]]
            best = sorted(seen, key=lambda j: (-p[b, h, i, j], j))[:4]
            missing = 4 - len(best)
            assert facts.top_indices[b, h, i].tolist() == best + missing * [-1]
            expected = [p[b, h, i, j] for j in best] + missing * [0.0]
            assert facts.top_weights[b, h, i].tolist() == expected
        # 9 rows in 4 cells: 0-1, 2-3, 4-5, 6-8; 7 keys in 3: 0-1, 2-3, 4-6.
        for a, rows in enumerate(((0, 2), (2, 4), (4, 6), (6, 9))):
            for c, keys in enumerate(((0, 2), (2, 4), (4, 7))):
                cell = [sum(p[b, h, i, j] for j in range(*keys)) for i in range(*rows)]
                mean = sum(cell) / len(cell)
                assert facts.pooled[b, h, a, c] == pytest.approx(mean, rel=1e-12)


def test_summary_of_equal_and_missing_weights():
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]], dtype=bool)
    facts = reference.summary(np.zeros((3, 1)), np.zeros((4, 1)), mask=mask, top_k=6)
    assert facts.top_indices.tolist() == [[0, 1, 3, -1, -1, -1], [-1] * 6, [2] + [-1] * 5]
    np.testing.assert_allclose(facts.top_weights[0], [1 / 3] * 3 + [0] * 3)
    np.testing.assert_allclose(facts.entropy, [math.log(3), 0, 0])
    np.testing.assert_allclose(facts.row_max, [1 / 3, 0, 1])
    np.testing.assert_allclose(facts.lse, [math.log(3), -np.inf, 0])
    np.testing.assert_allclose(facts.pooled, [[1 / 3, 1 / 3, 0, 1 / 3], [0] * 4, [0, 0, 1, 0]])


def test_equal_weights_are_listed_by_index():
    key = np.arange(3000) % 3
    facts = reference.summary(np.ones((2, 1)), key[:, np.newaxis], top_k=1500)
    expected = [*range(2, 3000, 3), *range(1, 1500, 3)]
    assert facts.top_indices.tolist() == [expected] * 2


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_summary_of_nothing(queries, keys):
    facts = reference.summary(np.zeros((2, queries, 1)), np.zeros((2, keys, 1)), top_k=2)
    assert facts.pooled.shape == (2, queries, keys)
    assert facts.top_indices.shape == (2, queries, 2)
    assert facts.column_sums.shape == (2, keys)
    np.testing.assert_array_equal(facts.row_max, np.zeros((2, queries)))
