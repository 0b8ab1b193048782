"""Gradients where something is not there: heads, value columns, batch elements."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from regard import reference


@pytest.mark.parametrize("kv_heads", [0, 2])
def test_no_heads_under_a_block_mask(isa, kv_heads):
    q, k = np.zeros((0, 40, 8)), np.zeros((kv_heads, 50, 8))
    mask = regard.BlockMask.from_dense(np.ones((40, 50), bool), block_size=16)
    out, vjp = regard.attention_vjp(q, k, k, mask=mask)
    assert vjp(out).query.shape == q.shape
    assert regard.attention_jvp(q, k, k, mask=mask)[0].shape == q.shape
    assert regard.attention_weights(q, k, mask=mask).shape == (0, 40, 50)
    for call in ("attention", "attention_vjp", "attention_jvp"):
        assert regard.explain(q, k, k, mask=mask, call=call).query_heads == 0


def test_no_value_columns(isa, dtype, rng):
    """What the LSE pulls on is still there, whatever scratch memory held before."""
    q, k = (rng.standard_normal((2, n, 12)).astype(dtype) for n in (40, 70))
    nan = np.full((2, 40, 12), np.nan, dtype)
    regard.attention_vjp(nan, k, k)[1](nan)
    v = np.zeros((2, 70, 0), dtype)
    out, vjp = regard.attention_vjp(q, k, v, causal=True)
    dlse = rng.standard_normal((2, 40)).astype(dtype)
    got = vjp(out, dlse)
    expected = reference.gradients(out, q, k, v, dlse=dlse, causal=True)
    atol = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got.query, expected.query, atol=atol)
    np.testing.assert_allclose(got.key, expected.key, atol=atol)
    assert got.value.shape == v.shape


@pytest.mark.parametrize("shape", [(0, 2, 5, 4), (3, 0, 5, 4)])
def test_options_of_nobody_were_given_all_the_same(isa, shape):
    x = np.zeros(shape)
    heads = shape[1]
    options = {
        "alibi_slopes": np.ones(heads),
        "sinks": np.ones(heads),
        "query_scale": np.ones((heads, 5)),
    }
    out, vjp = regard.attention_vjp(x, x, x, **options)
    got = vjp(out, wrt=list(options))
    for name, given in options.items():
        np.testing.assert_array_equal(getattr(got, name), np.zeros_like(given), err_msg=name)
    assert regard.explain(x, x, x, **options).options == "query scale, alibi, sinks"
