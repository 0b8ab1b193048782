"""NaN and Inf: none from what is masked, all from what is attended, and in the right rows only."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_close, assert_same_bits, check, make_problem

BAD = [np.nan, np.inf, -np.inf]
# Queries and keys over more than one tile in either direction, and a decode shape.
SIZES = [(50, 70), (130, 300), (1, 600)]


def make(rng, dtype, size, **options):
    return make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=size[0], keys=size[1], head_dim=17,
        value_dim=19, dtype=dtype, **options,
    )  # fmt: skip


def masking_options(rng, dtype, size):
    """Options that leave some keys unseen by every query of the group."""
    queries, keys = size
    unseen = rng.random((2, 1, 1, keys)) < 0.3
    return {
        "mask": {"mask": ~unseen},
        "bias": {"bias": np.where(unseen, -np.inf, 0.5).astype(dtype)},
        "key_lengths": {"key_lengths": np.array([keys // 2, keys - 3])},
        "window": {"window": (keys // 4, 3), "causal": "upper_left"},
        "causal key_lengths": {"causal": True, "key_lengths": np.array([keys // 3, keys - 1])},
        "all of them": {
            "causal": True,
            "mask": ~unseen,
            "bias": np.where(rng.random((4, queries, keys)) < 0.2, -np.inf, 1).astype(dtype),
            "key_lengths": np.array([keys - 9, keys - 1]),
        },
        "everything": {"mask": np.zeros((1, 1), dtype=bool)},
    }


OPTIONS = list(masking_options(np.random.default_rng(), np.float32, (1, 20)))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_unseen_keys_and_values_do_not_matter(isa, rng, dtype, size, option, bad):
    problem = make(rng, dtype, size, **masking_options(rng, dtype, size)[option])
    clean = problem.output_and_lse()
    assert np.isfinite(clean[0]).all()
    unseen = ~problem.seen_keys
    assert unseen.any()
    dirty_key, dirty_value = problem.key.copy(), problem.value.copy()
    dirty_key[unseen] = bad
    dirty_value[unseen] = bad
    assert_same_bits(problem.but(key=dirty_key).output_and_lse(), clean)
    assert_same_bits(problem.but(value=dirty_value).output_and_lse(), clean)
    assert_same_bits(problem.but(key=dirty_key, value=dirty_value).output_and_lse(), clean)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("size", SIZES)
def test_bias_of_masked_pairs_does_not_matter(isa, rng, dtype, size, bad):
    mask = rng.random((2, 4, *size)) < 0.5
    bias = rng.standard_normal((2, 4, *size)).astype(dtype)
    for options in ({"mask": mask}, {"mask": mask, "causal": True}, {"window": (9, 2)},
                    {"causal": True}, {"key_lengths": size[1] - 5}):  # fmt: skip
        problem = make(rng, dtype, size, bias=bias, **options)
        sees = problem.but(bias=None).sees
        dirty = np.where(sees, bias, dtype(bad))
        assert_same_bits(problem.but(bias=dirty).output_and_lse(), problem.output_and_lse())


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["key", "value"])
@pytest.mark.parametrize("option", ["causal", "window", "mask", "bias"])
@pytest.mark.parametrize("size", SIZES)
def test_attended_nan_and_inf_reach_their_rows_only(isa, rng, dtype, size, option, where, bad):
    queries, keys = size
    mask = rng.random((4, queries, keys)) < 0.5
    mask[..., 0] = True
    options = {
        "causal": {"causal": True},
        "window": {"window": (keys // 3, 2)},
        "mask": {"mask": mask},
        "bias": {"bias": np.where(mask, 0.25, -np.inf).astype(dtype)},
    }[option]
    problem = make(rng, dtype, size, **options)
    clean, clean_lse = problem.output_and_lse()
    array = getattr(problem, where).copy()
    # Near the end, so that causal rows before it are spared; two places, to cross tiles.
    for j in (keys - 2, keys // 2):
        array[1, 0, j, 5] = bad
    dirty = problem.but(**{where: array})
    out, lse = dirty.output_and_lse()
    check(dirty, (out, lse))
    reached = dirty.sees[..., [keys - 2, keys // 2]].any(axis=-1)
    reached[0] = reached[1, 2:] = False
    assert reached.any()
    if where == "value":
        assert (~np.isfinite(out)).any(axis=-1)[reached].all()
        assert_same_bits(lse, clean_lse)
        assert_same_bits(np.delete(out, 5, axis=-1), np.delete(clean, 5, axis=-1))
    elif np.isnan(bad):
        assert np.isnan(out[reached]).all()
        assert np.isnan(lse[reached]).all()
    assert_same_bits(out[~reached], clean[~reached])
    assert_same_bits(lse[~reached], clean_lse[~reached])


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("size", SIZES)
def test_bad_queries_spoil_their_own_rows_only(isa, rng, dtype, size, bad):
    problem = make(rng, dtype, size, causal="upper_left", mask=rng.random(size[::-1]).T < 0.9)
    clean = problem.output_and_lse()
    query = problem.query.copy()
    query[1, 2, size[0] // 2, 3] = bad
    dirty = problem.but(query=query).output_and_lse()
    check(problem.but(query=query), dirty)
    row = np.zeros(clean[1].shape, dtype=bool)
    row[1, 2, size[0] // 2] = True
    assert_same_bits(dirty[0][~row], clean[0][~row])
    assert_same_bits(dirty[1][~row], clean[1][~row])


@pytest.mark.parametrize("bad", BAD)
def test_blind_rows_are_blind_to_their_own_query(isa, rng, dtype, bad):
    """Seen is decided by the masks: a NaN query that sees nothing gives 0, not NaN."""
    problem = make(rng, dtype, (50, 20), causal=True)
    problem.query[:, :, :30] = bad
    out, lse = problem.output_and_lse()
    np.testing.assert_array_equal(out[:, :, :30], 0)
    np.testing.assert_array_equal(lse[:, :, :30], -np.inf)
    assert np.isfinite(out[:, :, 30:]).all()


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("size", SIZES)
def test_attended_bias_of_nan_and_inf(isa, rng, dtype, size, value):
    """NaN and +inf spoil the row; -inf masks."""
    problem = make(rng, dtype, size)
    bias = np.zeros((4, *size), dtype=dtype)
    clean = problem.but(bias=bias).output_and_lse()
    bias[2, size[0] // 2, size[1] // 2] = value
    out, lse = problem.but(bias=bias).output_and_lse()
    check(problem.but(bias=bias), (out, lse))
    row = np.zeros(lse.shape, dtype=bool)
    row[:, 2, size[0] // 2] = True
    assert np.isnan(out[row]).all() == (value != -np.inf)
    assert_same_bits(out[~row], clean[0][~row])
    assert_same_bits(lse[~row], clean[1][~row])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("keys", [3, 70, 600])
def test_infinite_scores(isa, dtype, keys, sign):
    """+inf gives NaN as in NumPy; -inf has weight 0; nothing but -inf gives NaN, not 0."""
    query = np.ones((1, 3, 2), dtype=dtype)
    query[:, 1] = -1
    key = np.zeros((1, keys, 2), dtype=dtype)
    value = np.arange(keys, dtype=dtype)[np.newaxis, :, np.newaxis]
    problem = make_problem(np.random.default_rng()).but(query=query, key=key, value=value)
    key[0, keys // 2] = sign * np.inf
    check(problem)
    key[...] = sign * np.inf
    check(problem)
    assert np.isnan(problem.attention()).all()


@pytest.mark.parametrize("masked", [False, True])
def test_attended_values_count_even_if_their_score_is_minus_infinity(isa, dtype, masked):
    """0 * NaN is NaN where the key is attended: weights of zero do not hide, masks do."""
    query = np.ones((1, 4, 2), dtype=dtype)
    key = np.ones((1, 9, 2), dtype=dtype)
    value = np.ones((1, 9, 3), dtype=dtype)
    key[0, 5] = -np.inf
    value[0, 5, 1] = np.nan
    problem = make_problem(np.random.default_rng()).but(query=query, key=key, value=value)
    check(problem.but(mask=np.arange(9) != 2) if masked else problem)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extreme", ["min", "max"])
def test_the_largest_finite_biases_are_finite(isa, rng, dtype, size, extreme):
    """finfo.min is how many programs mask. Where every key has it, all weigh the same."""
    limit = getattr(np.finfo(dtype), extreme)
    problem = make(rng, dtype, size)
    bias = np.zeros((4, *size), dtype=dtype)
    bias[0] = limit
    bias[1, :, ::3] = limit
    bias[2, : size[0] // 2] = limit
    bias[3] = limit / 2
    out, lse = problem.but(bias=bias).output_and_lse()
    expected, expected_lse = problem.but(bias=bias).oracle()
    # The scores vanish beside the bias or the bias is 0: either way no rounding is at its size.
    error = 100 * float(np.finfo(dtype).eps)
    assert_close(out, expected, error)
    assert_close(lse[:, 3], expected_lse[:, 3], error)
    # In base 2 the largest numbers have no room: such an LSE may be any that no score reaches.
    huge = np.abs(expected_lse) > abs(limit) / 2
    assert (np.abs(lse[huge]) > abs(limit) / 2).all()
    assert np.isfinite(lse).all()
    assert_close(lse[~huge], expected_lse[~huge], error)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("magnitude", [1e2, 1e4])
def test_large_logits(isa, rng, dtype, size, magnitude):
    """One-hot and near-tied rows at logits up to 1e4, with no overflow on the way."""
    problem = make(rng, dtype, size, scale=1.0)
    query = np.zeros_like(problem.query)
    key = np.zeros_like(problem.key)
    query[..., 0] = rng.choice([-1, 1], query.shape[:-1])
    # Integers: the scores are exact, so the budget is that of the softmax alone.
    key[..., 0] = rng.integers(-magnitude, magnitude + 1, key.shape[:-1])
    key[..., 3, 0], key[..., size[1] // 2, 0] = magnitude, magnitude - 1
    key[..., 5, 0], key[..., size[1] // 2 + 1, 0] = -magnitude, 1 - magnitude
    for exact in (
        problem.but(query=query, key=key),
        problem.but(query=query, key=key, causal=True),
    ):
        out, lse = exact.output_and_lse()
        expected, expected_lse = exact.oracle()
        eps = np.finfo(dtype).eps
        # exp2 is taken of scores times log2(e): that product is rounded at the size of the scores.
        error = eps * (8 + magnitude)
        assert_close(out, expected, error * np.abs(problem.value).max())
        assert_close(lse, expected_lse, error)


def test_rising_and_falling_scores(isa, dtype):
    """The running maximum moves in every tile, by more than the kernel's threshold or less."""
    keys = 700
    for step in (-20, -0.05, 0.01, 0.05, 3, 20):
        key = (np.arange(keys) * step).astype(dtype)[np.newaxis, :, np.newaxis]
        value = np.cos(np.arange(2 * keys)).astype(dtype).reshape(1, keys, 2)
        query = np.linspace(-1, 1, 50).astype(dtype)[np.newaxis, :, np.newaxis]
        check(make_problem(np.random.default_rng()).but(query=query, key=key, value=value))


def test_denormal_queries_keys_and_values(isa, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    rng = np.random.default_rng(5)
    shape = (2, 50, 20)
    query, key, value = ((tiny * rng.integers(0, 99, shape)).astype(dtype) for _ in range(3))
    out, lse = regard.attention(query, key, value, return_lse=True)
    np.testing.assert_allclose(lse, np.full(lse.shape, np.log(50)), rtol=1e-5)
    expected = np.broadcast_to(value.mean(axis=1, keepdims=True, dtype=np.float64), shape)
    # Each of the 50 products may be rounded to a multiple of `tiny`.
    np.testing.assert_allclose(out.astype(np.float64), expected, atol=50 * float(tiny))
    assert out.any()


def test_denormals_survive_the_call(isa, dtype, rng):
    """The process's flush-to-zero flag is left as it was."""
    make(rng, dtype, (50, 70)).attention()
    tiny = np.array([np.finfo(dtype).smallest_normal])
    assert (tiny / 4).item() > 0
