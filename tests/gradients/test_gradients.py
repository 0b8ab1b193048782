"""Gradients of every option, on every ISA, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from gradient_problems import OPTIONS, check_gradients, gradients, upstream, wanted
from problems import make_problem
from regard._bfloat16 import carrier, rounded

SIZES = {
    # Several blocks of rows, panels, tiles and vectors, none of them whole.
    "long": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 131, "keys": 203},
    "few": {"batch": (2,), "heads": 4, "kv_heads": 4, "queries": 3, "keys": 7},
    "many queries": {"batch": (1,), "heads": 4, "kv_heads": 1, "queries": 150, "keys": 70},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_against_the_oracle(isa, dtype, rng, option, size):
    sizes = SIZES[size]
    shape = (*sizes["batch"], sizes["heads"], sizes["queries"], sizes["keys"])
    problem = make_problem(
        rng, **sizes, head_dim=17, value_dim=9, dtype=dtype, **OPTIONS[option](rng, shape, dtype)
    )
    dout, dlse = upstream(rng, problem)
    check_gradients(problem, gradients(problem, dout, dlse), dout, dlse)


@pytest.mark.parametrize("option", ["causal", "all", "bias of heads", "cosine", "relative"])
@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_of_16_bits(isa, rng, storage, option):
    """Those of the same numbers in float32, rounded."""
    shape = (2, 4, 70, 90)
    wide = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=70, keys=90, head_dim=17, value_dim=9,
        **OPTIONS[option](rng, shape, np.float32),
    )  # fmt: skip
    dtype = carrier() if storage == "bfloat16" else np.dtype(np.float16)
    narrow = wide.but(
        query=rounded(wide.query, dtype), key=rounded(wide.key, dtype),
        value=rounded(wide.value, dtype),
    )  # fmt: skip
    same = wide.but(
        **{n: rounded(getattr(narrow, n), np.dtype(np.float32)) for n in ("query", "key", "value")}
    )
    dout, dlse = upstream(rng, same)
    expected = gradients(same, dout, dlse)
    got = gradients(narrow, rounded(dout, dtype), dlse)
    eps = 2.0**-7 if storage == "bfloat16" else 2.0**-10
    for name in wanted(same):
        one, other = getattr(got, name), getattr(expected, name)
        if name in ("query", "key", "value"):
            assert one.dtype == dtype
            one = rounded(one, np.dtype(np.float32))
        np.testing.assert_allclose(one, other, rtol=0, atol=8 * eps * np.abs(other).max())
    buffer = np.zeros(same.key.shape, np.float32)
    arrays = narrow.query, narrow.key, narrow.value
    _, vjp = regard.attention_vjp(*arrays, **narrow.options)
    assert vjp(rounded(dout, dtype), dlse, wrt="key", out={"key": buffer}).key is buffer
    np.testing.assert_array_equal(rounded(buffer, dtype).view(np.uint16), got.key.view(np.uint16))
    _, dout = regard.attention_jvp(*arrays, same.query, same.key, same.value, **narrow.options)
    _, exact = regard.attention_jvp(
        same.query, same.key, same.value, same.query, same.key, same.value, **same.options
    )
    assert dout.dtype == dtype
    dout = rounded(dout, np.dtype(np.float32))
    np.testing.assert_allclose(dout, exact, rtol=0, atol=2 * eps * np.abs(exact).max())


def test_block_mask(isa, dtype, rng):
    mask = rng.random((4, 300, 330)) < 0.5
    mask[:, 64:200, 100:250] = False
    mask[:, 200:, :64] = True
    for block in (16, 32, 128):
        problem = make_problem(
            rng, batch=(2,), heads=4, kv_heads=2, queries=300, keys=330, head_dim=16, dtype=dtype,
            mask=mask,
        )  # fmt: skip
        dout, dlse = upstream(rng, problem)
        tiles = problem.but(mask=regard.BlockMask.from_dense(mask, block_size=block))
        check_gradients(problem, gradients(tiles, dout, dlse), dout, dlse)


def test_grid(isa, dtype, rng):
    problem = make_problem(rng, batch=(3,), heads=2, queries=72, keys=72, head_dim=8, dtype=dtype)
    table = rng.standard_normal((15 * 17, 2)).astype(dtype)
    problem = problem.but(position_bias=regard.bias.Grid(table, 8, 9))
    dout, dlse = upstream(rng, problem)
    check_gradients(problem, gradients(problem, dout, dlse), dout, dlse)
