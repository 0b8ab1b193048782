"""Axes in another order: the same numbers, as views, in every function that takes heads."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import regard
from problems import assert_same_bits, make_problem
from regard import reference

ORDERS = [*map("".join, permutations("BHSD")), *map("".join, permutations("HSD"))]


def arranged(x: np.ndarray, layout: str) -> np.ndarray:
    """What is by head in C order, in the order of the letters."""
    ours = [letter for letter in "BHSD" if letter in layout]
    return np.ascontiguousarray(np.transpose(x, [ours.index(letter) for letter in layout]))


def problem_of(rng, layout, dtype=np.float32, kv_batch=2):
    batch = "B" in layout
    make = dict(
        heads=4, kv_heads=2, queries=6, keys=9, head_dim=5, value_dim=3, dtype=dtype,
    )  # fmt: skip
    problem = make_problem(rng, batch=(2,) if batch else (), **make)
    if batch and kv_batch == 1:
        problem = problem.but(key=problem.key[:1], value=problem.value[:1])
    return problem.query, problem.key, problem.value


@pytest.mark.parametrize("layout", ORDERS)
def test_same_as_by_head(rng, layout):
    arrays = problem_of(rng, layout)
    expected, lse = regard.attention(*arrays, causal=True, return_lse=True)
    theirs = [arranged(x, layout) for x in arrays]
    out, their_lse = regard.attention(*theirs, causal=True, return_lse=True, layout=layout)
    assert out.flags.c_contiguous
    assert_same_bits(out, arranged(expected, layout))
    assert_same_bits(their_lse, lse)
    into = np.full_like(out, np.nan)
    assert regard.attention(*theirs, causal=True, layout=layout, out=into) is into
    assert_same_bits(into, out)
    definition = reference.attention(*theirs, causal=True, layout=layout)
    np.testing.assert_allclose(out, definition, atol=1e-6)


@pytest.mark.parametrize("kv_batch", [1, 2])
@pytest.mark.parametrize("layout", ["BSHD", "BHSD", "SBHD", "SHD", "DSH"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradients_and_tangents(rng, layout, kv_batch, dtype):
    arrays = [x.astype(dtype) for x in problem_of(rng, layout, kv_batch=kv_batch)]
    theirs = [arranged(x, layout) for x in arrays]
    out, vjp = regard.attention_vjp(*arrays, causal=True)
    dout = rng.standard_normal(out.shape).astype(dtype)
    expected = vjp(dout)
    their_out, their_vjp = regard.attention_vjp(*theirs, causal=True, layout=layout)
    assert_same_bits(their_out, arranged(out, layout))
    their_dout = arranged(dout, layout)
    got = their_vjp(their_dout)
    buffers = {n: np.zeros_like(x) for n, x in zip(("query", "key", "value"), theirs, strict=True)}
    their_vjp(their_dout, out=buffers, accumulate=True)
    by_hand = regard.attention_backward(
        their_dout, *theirs, their_out, vjp.lse, causal=True, layout=layout
    )
    for name in ("query", "key", "value"):
        whole = arranged(getattr(expected, name), layout)
        assert_same_bits(getattr(got, name), whole)
        assert_same_bits(getattr(by_hand, name), whole)
        assert_same_bits(buffers[name], whole)
    moved = regard.attention_jvp(*arrays, *arrays, causal=True)[1]
    theirs_moved = regard.attention_jvp(*theirs, *theirs, causal=True, layout=layout)[1]
    assert_same_bits(np.ascontiguousarray(theirs_moved), arranged(moved, layout))


def test_weights_summary_and_explain(rng):
    q, k, v = problem_of(rng, "BSHD")
    theirs = [arranged(x, "BSHD") for x in (q, k, v)]
    weights = regard.attention_weights(q, k, causal=True)
    assert_same_bits(regard.attention_weights(*theirs[:2], causal=True, layout="BSHD"), weights)
    summary = regard.attention_summary(q, k)
    assert_same_bits(regard.attention_summary(*theirs[:2], layout="BSHD").entropy, summary.entropy)
    told = regard.explain(*theirs, layout="BSHD")
    assert (told.batch, told.query_heads, told.queries, told.keys) == (2, 4, 6, 9)


def test_scales_of_int8_go_by_it(rng):
    q, k, v = problem_of(rng, "BSHD")
    theirs = [arranged(x, "BSHD") for x in (q, k, v)]
    keys, values = regard.quantize_kv(theirs[1]), regard.quantize_kv(theirs[2])
    got = regard.attention(
        theirs[0], keys[0], values[0], key_scales=keys[1], value_scales=values[1], layout="BSHD"
    )
    whole = [x[0] * x[1][..., np.newaxis] for x in (keys, values)]
    np.testing.assert_allclose(got, regard.attention(theirs[0], *whole, layout="BSHD"), atol=1e-5)


def test_a_key_mask_stays_as_it_is(rng):
    q, k, v = problem_of(rng, "BSHD")
    mask = rng.random((2, 9)) < 0.5
    theirs = [arranged(x, "BSHD") for x in (q, k, v)]
    got = regard.attention(*theirs, key_mask=mask, layout="BSHD")
    assert_same_bits(got, arranged(regard.attention(q, k, v, key_mask=mask), "BSHD"))


def test_packed_pieces_have_one(rng):
    x = rng.standard_normal((5, 2, 4))
    cuts = [0, 2, 5]
    out = regard.varlen_attention(x, x, x, cuts, cuts)
    assert out.flags.c_contiguous
    assert_same_bits(regard.varlen_attention(x, x, x, cuts, cuts, layout="SHD"), out)
    with pytest.raises(ValueError, match="varlen_attention: layout is 'HSD'"):
        regard.varlen_attention(x, x, x, cuts, cuts, layout="HSD")


@pytest.mark.parametrize("layout", ["BSHDD", "BSD", "bshd", "", "BSHD ", 3, "BHSX"])
def test_no_order(rng, layout):
    arrays = problem_of(rng, "BSHD")
    with pytest.raises(ValueError, match=r"^attention: layout is .*\n  Name the axes"):
        regard.attention(*arrays, layout=layout)


def test_errors(rng):
    q, k, v = (arranged(x, "BSHD") for x in problem_of(rng, "BSHD"))
    with pytest.raises(ValueError, match=r"^attention: key has shape \(9, 2, 5\), and"):
        regard.attention(q, k[0], v, layout="BSHD")
    with pytest.raises(ValueError, match=r"^attention: out has shape \(2, 6\), and layout"):
        regard.attention(q, k, v, layout="BSHD", out=np.zeros((2, 6), np.float32))
    with pytest.raises(ValueError, match=r"(?s)heads=6.*say layout='BSHD'"):
        regard.attention(q, k[:, :4, :, :5], v[:, :4])
    with pytest.raises(ValueError, match="layout is given with a block_table"):
        regard.attention(q, k, v, layout="BSHD", block_table=[[0]], key_lengths=[1])
    with pytest.raises(ValueError, match="attention_vjp: value has shape"):
        regard.attention_vjp(q, k, v[0], layout="BSHD")


@pytest.mark.parametrize("layout", ["BSHD", "SBHD", "SHD"])
def test_rope_and_merged_states(rng, layout):
    x = rng.standard_normal((2, 3, 5, 8) if "B" in layout else (3, 5, 8))
    rope = regard.positions.rope
    theirs = rope(arranged(x, layout), layout=layout)
    assert theirs.flags.c_contiguous
    assert_same_bits(theirs, arranged(rope(x), layout))
    of_each = rng.integers(100, size=(2, 1, 5) if "B" in layout else (3, 5))
    assert_same_bits(
        rope(arranged(x, layout), of_each, layout=layout), arranged(rope(x, of_each), layout)
    )
    states = [regard.attention(x, x + n, x, return_lse=True) for n in (0, 1)]
    outs, lses = zip(*states, strict=True)
    merged, lse = regard.merge_states(outs, lses)
    got, their_lse = regard.merge_states([arranged(o, layout) for o in outs], lses, layout=layout)
    assert_same_bits(np.ascontiguousarray(got), arranged(merged, layout))
    assert_same_bits(their_lse, lse)


def test_errors_of_rope_and_merge_states(rng):
    x = rng.standard_normal((2, 3, 5, 8))
    with pytest.raises(ValueError, match=r"^rope: layout is 'BSDH'"):
        regard.positions.rope(x, layout="BSDH")
    with pytest.raises(ValueError, match=r"^rope: x has shape"):
        regard.positions.rope(x, layout="SHD")
    with pytest.raises(ValueError, match=r"^merge_states: layout is 'BSD'"):
        regard.merge_states([x], [x[..., 0]], layout="BSD")
