"""`merge_states`: attention over parts of the keys, put together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regard

TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-6}, "float64": {"rtol": 1e-12, "atol": 1e-13}}


def near(got, expected, dtype):
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype == dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, **TOLERANCE[np.dtype(dtype).name])


@given(
    st.lists(st.integers(0, 90), min_size=1, max_size=5), st.integers(0, 2**32), st.booleans()
)  # fmt: skip
def test_split_keys(lengths, seed, double):
    dtype = np.float64 if double else np.float32
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((2, 4, 7, 8)).astype(dtype)
    key, value = rng.standard_normal((2, 2, 2, sum(lengths), 8)).astype(dtype)
    mask = rng.random((2, 1, 7, sum(lengths))) < 0.5
    ends = np.cumsum([0, *lengths])
    parts = [
        regard.attention(query, key[..., a:b, :], value[..., a:b, :], mask=mask[..., a:b],
                         return_lse=True)
        for a, b in itertools.pairwise(ends)
    ]  # fmt: skip
    merged = regard.merge_states(*zip(*parts, strict=True))
    near(merged, regard.attention(query, key, value, mask=mask, return_lse=True), dtype)


def test_shared_prefix(rng, dtype):
    """A cascade: the prefix is read once for all sequences, whose queries lie side by side."""
    sequences, heads, queries, head_dim = 3, 4, 5, 16
    query = rng.standard_normal((sequences, heads, queries, head_dim)).astype(dtype)
    prefix = rng.standard_normal((heads, 70, head_dim)).astype(dtype)
    own = rng.standard_normal((sequences, heads, queries, head_dim)).astype(dtype)

    packed = query.swapaxes(0, 1).reshape(heads, sequences * queries, head_dim)
    out, lse = regard.attention(packed, prefix, prefix, return_lse=True)
    shared = (
        out.reshape(heads, sequences, queries, head_dim).swapaxes(0, 1),
        lse.reshape(heads, sequences, queries).swapaxes(0, 1),
    )
    alone = regard.attention(query, own, own, causal=True, return_lse=True)
    merged = regard.merge_states(*zip(shared, alone, strict=True))

    whole = np.concatenate([np.broadcast_to(prefix, (sequences, *prefix.shape)), own], axis=-2)
    near(merged, regard.attention(query, whole, whole, causal=True, return_lse=True), dtype)


def test_by_hand(dtype):
    """Weights 1 and 3 of 4, and a part twice as large in another row."""
    outputs = np.array([[[4.0], [1.0]], [[8.0], [4.0]]], dtype)
    lses = np.log(np.array([[1.0, 4.0], [3.0, 2.0]], dtype))
    out, lse = regard.merge_states(outputs, lses)
    np.testing.assert_allclose(out, [[7.0], [2.0]], rtol=1e-6)
    np.testing.assert_allclose(lse, np.log([4.0, 6.0]), rtol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 3.0])
def test_parts_that_saw_nothing_do_not_matter(rng, dtype, garbage):
    out, lse = rng.standard_normal((4, 3)).astype(dtype), rng.standard_normal(4).astype(dtype)
    blind = np.full((4, 3), garbage, dtype), np.full(4, -np.inf, dtype)
    near(regard.merge_states([blind[0], out], [blind[1], lse]), (out, lse), dtype)
    near(regard.merge_states([out, blind[0]], [lse, blind[1]]), (out, lse), dtype)
    merged, logs = regard.merge_states([blind[0]] * 3, [blind[1]] * 3)
    np.testing.assert_array_equal(merged, np.zeros((4, 3)))
    np.testing.assert_array_equal(logs, np.full(4, -np.inf))


def test_large_and_distant_logarithms(dtype):
    """exp(lse) alone would overflow, or vanish against the other part."""
    out, lse = regard.merge_states(
        np.array([[[1.0], [2.0]], [[3.0], [4.0]]], dtype), np.array([[1e4, -1e4], [1e4, 0]], dtype)
    )
    np.testing.assert_allclose(out, [[2.0], [4.0]], rtol=1e-6)
    np.testing.assert_allclose(lse, [1e4 + np.log(2), 0], rtol=1e-6)


def test_nan_stays_in_its_row(dtype):
    outputs = np.ones((2, 3, 2), dtype)
    outputs[0, 1, 0] = np.nan
    out, lse = regard.merge_states(outputs, np.zeros((2, 3), dtype))
    np.testing.assert_array_equal(np.isnan(out), [[False] * 2, [True, False], [False] * 2])
    assert np.isfinite(lse).all()


def test_one_part_is_itself(rng, dtype):
    out, lse = rng.standard_normal((4, 3)).astype(dtype), rng.standard_normal(4).astype(dtype)
    near(regard.merge_states([out], [lse]), (out, lse), dtype)


def test_widest_dtype():
    out, lse = regard.merge_states(
        [np.ones((2, 1), np.float32), np.ones((2, 1))], [np.ones(2, np.float32)] * 2
    )
    assert (out.dtype, lse.dtype) == (np.float64, np.float32)


ONE, LSE = np.ones((2, 3)), np.ones(2)
WRONG = {
    "no parts": (ValueError, ([], []), "0 outputs and 0 lses"),
    "fewer lses": (ValueError, ([ONE, ONE], [LSE]), "2 outputs and 1 lses"),
    "lse shape": (ValueError, ([ONE], [np.ones(3)]), r"shape \(2, 3\) with an lse of \(3,\)"),
    "output shape": (ValueError, ([ONE, np.ones((2, 4))], [LSE, LSE]), r"shape \(2, 4\)"),
    "scalar": (ValueError, ([1.0], [1.0]), "one shape"),
    "ints": (TypeError, ([np.ones((2, 3), int)], [LSE]), "outputs has dtype int64"),
    "lse ints": (TypeError, ([ONE], [np.ones(2, int)]), "lses has dtype int64"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors(what):
    error, arguments, message = WRONG[what]
    with pytest.raises(error, match=message):
        regard.merge_states(*arguments)
