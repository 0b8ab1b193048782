"""Padding: the same numbers for the same tokens, wherever the padding is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regard
from problems import assert_same_bits, check, make_problem
from regard import reference

LENGTHS = np.array([53, 20, 1])


def problem_of(rng, dtype=np.float32, queries=53, **options):
    problem = make_problem(
        rng, batch=(3,), heads=4, kv_heads=2, queries=queries, keys=53, head_dim=24, value_dim=9,
        dtype=dtype,
    )  # fmt: skip
    return problem.but(**options)


def masks(rng):
    j = np.arange(53)
    return {
        "right": j < LENGTHS[:, np.newaxis],
        "left": j >= 53 - LENGTHS[:, np.newaxis],
        "holes": rng.random((3, 53)) < 0.5,
        "none": np.zeros((3, 53), bool),
        "all": np.ones((3, 53), bool),
        "one for all": j < 40,
        "of an axis of one": (j < 40)[np.newaxis],
    }


MASKS = tuple(masks(np.random.default_rng(0)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("causal", [False, True, "upper_left"])
def test_tokens_are_as_without_padding(isa, dtype, rng, side, causal):
    problem = problem_of(rng, dtype, window=(9, None), alibi_slopes=np.ones(4) / 8)
    out = problem.but(key_mask=masks(rng)[side], causal=causal).attention()
    for element, n in enumerate(LENGTHS):
        tokens = slice(53 - n, 53) if side == "left" else slice(n)
        alone = regard.attention(
            *(x[element, :, tokens] for x in (problem.query, problem.key, problem.value)),
            **problem.options, causal=causal,
        )  # fmt: skip
        np.testing.assert_allclose(out[element, :, tokens], alone, atol=2e-6)


@pytest.mark.parametrize("queries", [53, 2, 1])
@pytest.mark.parametrize("form", MASKS)
def test_definition(isa, dtype, rng, form, queries):
    problem = problem_of(rng, dtype, queries, key_mask=masks(rng)[form])
    check(problem)
    check(problem.but(causal=True))
    check(problem.but(causal="upper_left", window=7))
    check(problem.but(causal=True, key_lengths=[50, 53, 3]))
    check(problem.but(causal=True, query_lengths=np.minimum(queries, [1, 0, 40])))
    check(problem.but(causal=True, query_offset=[0, 5, 52]))


@pytest.mark.parametrize("form", MASKS)
def test_joins_every_kind_of_mask(rng, form):
    dense = rng.random((3, 1, 53, 53)) < 0.7
    problem = problem_of(rng, key_mask=masks(rng)[form], causal=True)
    expected = problem.but(mask=dense).attention()
    check(problem.but(mask=dense))
    for mask in (regard.PackedMask.from_dense(dense), regard.BlockMask.from_dense(dense, 16)):
        np.testing.assert_allclose(problem.but(mask=mask).attention(), expected, atol=1e-6)


def test_leading_tokens_are_lengths(rng):
    """So that nothing is computed for padding, and poison in it is not looked at."""
    problem = problem_of(rng, key_mask=masks(rng)["right"], causal=True)
    same = problem.but(key_mask=None, causal="upper_left", key_lengths=LENGTHS)
    assert_same_bits(problem.attention(), same.attention())
    told = regard.explain(problem.query, problem.key, problem.value, **problem.options)
    assert "mask" not in told.options
    padding = np.broadcast_to(~masks(rng)["right"][:, np.newaxis, :, np.newaxis], problem.key.shape)
    dirty = problem.but(key=np.where(padding, np.nan, problem.key))
    assert_same_bits(dirty.attention(), problem.attention())


def test_zeros_and_ones_of_a_tokenizer(rng):
    problem = problem_of(rng, key_mask=masks(rng)["holes"])
    assert_same_bits(
        problem.but(key_mask=masks(np.random.default_rng(1))["left"].astype(np.int64)).attention(),
        problem.but(key_mask=masks(np.random.default_rng(1))["left"].tolist()).attention(),
    )


@pytest.mark.parametrize("form", ["right", "left", "holes"])
def test_weights_summary_and_derivatives(rng, form):
    problem = problem_of(rng, np.float64, key_mask=masks(rng)[form], causal=True)
    q, k, v = problem.query, problem.key, problem.value
    options = problem.options
    expected = reference.weights(q, k, **options)
    np.testing.assert_allclose(regard.attention_weights(q, k, **options), expected, atol=1e-14)
    sums = regard.attention_summary(q, k, **options).column_sums
    np.testing.assert_allclose(sums, expected.sum(axis=-2), atol=1e-12)
    dout = rng.standard_normal((3, 4, 53, 9))
    gradients = regard.attention_vjp(q, k, v, **options)[1](dout)
    by_definition = reference.gradients(dout, q, k, v, **options)
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(
            getattr(gradients, name), getattr(by_definition, name), atol=1e-12
        )
    moves = [rng.standard_normal(x.shape) for x in (q, k, v)]
    _, _, dout, _ = reference.attention_jvp(q, k, v, *moves, **options)
    np.testing.assert_allclose(
        regard.attention_jvp(q, k, v, *moves, **options)[1], dout, atol=1e-12
    )


def test_of_packed_pieces(rng):
    query, key, value = rng.standard_normal((3, 10, 4, 8))
    cuts = [0, 3, 10]
    mask = rng.random((2, 7)) < 0.6
    got = regard.varlen_attention(query, key, value, cuts, cuts, causal=True, key_mask=mask)
    expected = reference.varlen_attention(query, key, value, cuts, cuts, causal=True, key_mask=mask)
    np.testing.assert_allclose(got, expected, atol=1e-14)


def test_of_packed_pieces_with_tiles(rng):
    query, key, value = rng.standard_normal((3, 10, 4, 8))
    cuts = [0, 3, 10]
    dense, mask = rng.random((2, 1, 7, 7)) < 0.7, rng.random((2, 7)) < 0.6
    tiles = regard.BlockMask.from_dense(dense, 16)
    arrays = query, key, value, cuts, cuts
    got = regard.varlen_attention(*arrays, mask=tiles, key_mask=mask)
    expected = reference.varlen_attention(*arrays, mask=dense, key_mask=mask)
    np.testing.assert_allclose(got, expected, atol=1e-14)


def test_of_packed_pieces_fits_them_whatever_it_holds(rng):
    x = rng.standard_normal((10, 4, 8))
    with pytest.raises(ValueError, match=r"^varlen_attention: key_mask has shape \(2, 6\)"):
        regard.varlen_attention(x, x, x, [0, 3, 10], [0, 3, 10], key_mask=np.ones((2, 6), bool))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 40))
def test_random_masks(seed, queries, keys):
    rng = np.random.default_rng(seed)
    batch = tuple(rng.integers(1, 3, rng.integers(3)))
    problem = make_problem(rng, batch=batch, queries=queries, keys=keys)
    lengths = rng.integers(keys + 1, size=batch)
    mask = np.arange(keys) < lengths[..., np.newaxis]
    turn = rng.integers(3)
    mask = mask if turn == 0 else mask[..., ::-1] if turn == 1 else rng.random(mask.shape) < 0.5
    causal = [False, True, "upper_left"][rng.integers(3)]
    check(problem.but(key_mask=mask, causal=causal))


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.ones((3, 52), bool), ValueError, r"key_mask has shape \(3, 52\); query has .*batch, k"),
        (np.ones((2, 53), bool), ValueError, r"key_mask has shape \(2, 53\)"),
        (np.ones((3, 1, 53), bool), ValueError, r"key_mask has shape \(3, 1, 53\)"),
        (np.array(True), ValueError, r"key_mask has shape \(\)"),
        (np.ones((3, 53)), TypeError, "key_mask has dtype float64"),
        (np.full((3, 53), 2), TypeError, "key_mask has dtype int64"),
    ],
)
def test_bad_masks(rng, mask, error, words):
    problem = problem_of(rng)
    with pytest.raises(error, match=f"(?s)^attention: {words}"):
        problem.but(key_mask=mask).attention()


def test_a_mask_of_tokens_in_the_wrong_place_is_told(rng):
    problem = problem_of(rng, mask=masks(rng)["right"])
    with pytest.raises(ValueError, match=r"(?s)mask does not broadcast.*goes in key_mask="):
        problem.attention()


def test_lengths_that_leave_out_the_first_queries_warn(rng):
    problem = problem_of(rng, causal=True, key_lengths=LENGTHS)
    with pytest.warns(UserWarning, match="key_mask=") as said:
        problem.attention()
    assert said[0].filename == problem.attention.__code__.co_filename
    meant = (
        {"key_lengths": None, "key_mask": masks(rng)["right"]}, {"causal": "upper_left"},
        {"query_lengths": LENGTHS}, {"query_offset": 0}, {"causal": False},
        {"key_lengths": [53, 53, 53]},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in meant:
            problem.but(**options).attention()
        problem.but(query=problem.query[..., :1, :]).attention()
