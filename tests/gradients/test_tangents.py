"""Forward mode for every option, on every ISA, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from gradient_problems import OPTIONS
from problems import assert_same_bits, make_problem
from regard import reference

SHAPE = (2, 4, 131, 203)


def option_problem(rng, option, dtype):
    batch, heads, queries, keys = SHAPE
    options = OPTIONS[option](rng, SHAPE, dtype)
    return make_problem(
        rng, batch=(batch,), heads=heads, kv_heads=2, queries=queries, keys=keys, head_dim=17,
        value_dim=9, dtype=dtype, **options,
    )  # fmt: skip


def moves_of(rng, problem):
    arrays = problem.query, problem.key, problem.value
    return [rng.standard_normal(x.shape).astype(x.dtype) for x in arrays]


def check(problem, moves, got) -> None:
    arrays = problem.query, problem.key, problem.value
    (out, lse), (dout, dlse) = got
    assert_same_bits((out, lse), problem.output_and_lse())
    _, _, expected, expected_lse = reference.attention_jvp(*arrays, *moves, **problem.options)
    # As the gradients: some tens of eps of the largest number there is.
    eps = 64 * np.finfo(out.dtype).eps
    for one, other in ((dout, expected), (dlse, expected_lse)):
        assert one.dtype == out.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=eps * np.abs(other).max())


@pytest.mark.parametrize("option", OPTIONS)
def test_against_the_oracle(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    arrays, moves = (problem.query, problem.key, problem.value), moves_of(rng, problem)
    got = regard.attention_jvp(*arrays, *moves, return_lse=True, **problem.options)
    check(problem, moves, got)


@pytest.mark.parametrize("still", ["dquery", "dkey", "dvalue"])
def test_what_stays(isa, dtype, rng, still):
    problem = option_problem(rng, "causal", dtype)
    moves = dict(zip(("dquery", "dkey", "dvalue"), moves_of(rng, problem), strict=True))
    arrays = problem.query, problem.key, problem.value
    moves[still] = np.zeros_like(moves[still])
    expected = regard.attention_jvp(*arrays, **moves, causal=True)
    moves[still] = None
    got = regard.attention_jvp(*arrays, **moves, causal=True)
    np.testing.assert_allclose(got[1], expected[1], rtol=1e-5, atol=1e-6)
    none = regard.attention_jvp(*arrays, causal=True)
    np.testing.assert_array_equal(none[1], 0)
    assert_same_bits(none[0], problem.attention())


@pytest.mark.parametrize("option", ["causal", "all", "lengths", "sinks alone"])
def test_it_is_the_transpose_of_the_gradients(isa, rng, option):
    """<dout, J moves> = <Jᵀ dout, moves>."""
    problem = option_problem(rng, option, np.float64)
    arrays, moves = (problem.query, problem.key, problem.value), moves_of(rng, problem)
    out, vjp = regard.attention_vjp(*arrays, **problem.options)
    (_, _), (dout, dlse) = regard.attention_jvp(*arrays, *moves, return_lse=True, **problem.options)
    by_out, by_lse = rng.standard_normal(out.shape), rng.standard_normal(vjp.lse.shape)
    grads = vjp(by_out, by_lse)
    forward = (dout * by_out).sum() + (dlse * by_lse).sum()
    backward = sum(
        (g * m).sum() for g, m in zip((grads.query, grads.key, grads.value), moves, strict=True)
    )
    assert forward == pytest.approx(backward, rel=1e-9)


def test_threads(isa, dtype, rng):
    problem = option_problem(rng, "all", dtype)
    arrays, moves = (problem.query, problem.key, problem.value), moves_of(rng, problem)
    expected = regard.attention_jvp(*arrays, *moves, **problem.options, num_threads=1)
    for threads in (2, 5):
        got = regard.attention_jvp(*arrays, *moves, **problem.options, num_threads=threads)
        assert_same_bits(got, expected)


def test_masked_poison_stays_where_it_is(isa, dtype, rng):
    problem = option_problem(rng, "causal", dtype)
    problem = problem.but(key_lengths=np.array([150, 90]), query_lengths=np.array([100, 80]))
    moves = moves_of(rng, problem)
    arrays = [problem.query, problem.key, problem.value]
    expected = regard.attention_jvp(*arrays, *moves, **problem.options, return_lse=True)
    dirty = [x.copy() for x in (*arrays, *moves)]
    mask = np.ones((2, 1, 1, 203), bool)
    for n, (queries, keys) in enumerate(((100, 150), (80, 90))):
        for x in dirty[0], dirty[3]:
            x[n, :, queries:] = np.nan
        for x in dirty[1], dirty[2], dirty[4], dirty[5]:
            x[n, :, keys:] = np.inf
        mask[n, ..., keys:] = False
    got = regard.attention_jvp(*dirty, **problem.options, return_lse=True)
    assert_same_bits(sum(got, ()), sum(expected, ()))
    # The same keys hidden by a mask, in tiles that are computed.
    options = {"causal": "upper_left", "query_lengths": [100, 80]}
    clean = regard.attention_jvp(*arrays, *moves, mask=mask, **options)
    got = regard.attention_jvp(*dirty, mask=mask, **options)
    assert_same_bits(got, clean)


def test_shapes_broadcast(rng):
    query, key = rng.standard_normal((2, 4, 5, 3)), rng.standard_normal((4, 6, 3))
    value = rng.standard_normal((1, 4, 6, 2))
    arrays = query, key, value
    moves = [rng.standard_normal(x.shape) for x in arrays]
    _, dout = regard.attention_jvp(*arrays, *moves)
    np.testing.assert_allclose(dout, reference.attention_jvp(*arrays, *moves)[2], atol=1e-13)
    lone = regard.attention_jvp(query[0, 0, 0], key[0], value[0, 0], moves[0][0, 0, 0])
    assert lone[0].shape == lone[1].shape == (2,)


def test_hessian_vector_product(rng):
    """Forward over reverse, by differences of gradients along the direction."""
    arrays = rng.standard_normal((3, 2, 20, 8))
    moves = rng.standard_normal((3, 2, 20, 8))

    def gradient(query, key, value):
        out, vjp = regard.attention_vjp(query, key, value)
        grads = vjp(out)  # of the loss |out|² / 2
        return np.stack([grads.query, grads.key, grads.value])

    step = 1e-5
    product = (gradient(*(arrays + step * moves)) - gradient(*(arrays - step * moves))) / (2 * step)
    other = rng.standard_normal((3, 2, 20, 8))
    again = (gradient(*(arrays + step * other)) - gradient(*(arrays - step * other))) / (2 * step)
    assert (product * other).sum() == pytest.approx((again * moves).sum(), rel=1e-6)


def test_errors(rng):
    x = rng.standard_normal((2, 5, 4))
    with pytest.raises(ValueError, match="attention_jvp: dkey has shape"):
        regard.attention_jvp(x, x, x, dkey=x[:1])
    with pytest.raises(TypeError, match="attention_jvp: out is no option"):
        regard.attention_jvp(x, x, x, out=x)
