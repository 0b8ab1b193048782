"""A factor for each query: in every kind of call, however it is broadcast, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from by_loops import by_loops
from gradient_problems import check_gradients, gradients, upstream
from problems import assert_same_bits, check, make_problem
from regard import reference

SHAPES = {
    "one number": (),
    "by position": (53,),
    "by head": (4, 1),
    "by head and position": (4, 53),
    "by element": (2, 1, 1),
    "all": (2, 4, 53),
}
ROWS = {"blocks": 53, "decode": 2, "one": 1}


def problem_of(rng, dtype, factors, rows=53, **options):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=53, keys=140, head_dim=24, value_dim=9,
        dtype=dtype,
    )  # fmt: skip
    scale = rng.choice([0.0, 1.0, -0.5, 3.0, 0.1], factors)
    if factors and factors[-1] == 53:
        scale = scale[..., :rows]
    return problem.but(query=problem.query[..., :rows, :], query_scale=scale, **options)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_decode(isa, dtype, rng, shape, rows):
    problem = problem_of(rng, dtype, SHAPES[shape], ROWS[rows])
    check(problem)
    check(problem.but(softcap=2.0, causal=True, scale=np.array([0.5, -1.0, 0.0, 2.0])))
    check(problem.but(similarity="cosine", alibi_slopes=np.ones(4) / 9))


def test_is_what_loops_say(rng):
    q, k, v = (rng.standard_normal((2, h, n, 3)) for h, n in ((2, 4), (1, 5), (1, 5)))
    factors = rng.standard_normal((2, 2, 4))
    out, lse, _ = by_loops(q, k, v, query_scale=factors, softcap=1.5, scale=0.7)
    got = regard.attention(q, k, v, query_scale=factors, softcap=1.5, scale=0.7, return_lse=True)
    np.testing.assert_allclose(got[0], out, atol=1e-14)
    np.testing.assert_allclose(got[1], lse, atol=1e-14)


@pytest.mark.parametrize("rows", ROWS)
def test_powers_of_two_are_exact(isa, dtype, rng, rows):
    """Then it is the same whether queries are multiplied or their scale."""
    problem = problem_of(rng, dtype, (), ROWS[rows])
    factors = 2.0 ** rng.integers(-2, 3, (2, 4, ROWS[rows]))
    one = problem.but(query_scale=factors).output_and_lse()
    multiplied = (problem.query * factors[..., np.newaxis]).astype(dtype)
    other = problem.but(query=multiplied, query_scale=None).output_and_lse()
    assert_same_bits(one[0], other[0])
    assert_same_bits(one[1], other[1])


def test_ones_change_no_bit(isa, dtype, rng):
    problem = problem_of(rng, dtype, ())
    for rows in ROWS.values():
        some = problem.but(query=problem.query[..., :rows, :], causal=True, similarity="cosine")
        one = some.but(query_scale=np.ones(rows)).output_and_lse()
        other = some.but(query_scale=None).output_and_lse()
        assert_same_bits(one[0], other[0])
        assert_same_bits(one[1], other[1])


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("rows", ROWS)
def test_16_bits(isa, rng, kind, rows):
    from storage_types import FLOATS, rounded

    problem = problem_of(rng, np.float32, (4, 53), ROWS[rows])
    arrays = {n: rounded(getattr(problem, n), FLOATS[kind]) for n in ("query", "key", "value")}
    check(problem.but(**arrays))


def test_weights_and_summary(isa, dtype, rng):
    problem = problem_of(rng, dtype, (2, 4, 53), causal=True)
    arrays, options = (problem.query, problem.key), problem.options
    weights = regard.attention_weights(*arrays, **options)
    expected = reference.weights(*arrays, **options)
    np.testing.assert_allclose(weights, expected, atol=1e-5 if dtype == np.float32 else 1e-13)
    rows = [7, 3, 52]
    assert_same_bits(regard.attention_weights(*arrays, rows=rows, **options), weights[..., rows, :])
    summary = regard.attention_summary(*arrays, **options)
    np.testing.assert_allclose(summary.row_max, expected.max(-1), rtol=1e-4)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(isa, dtype, rng, shape, similarity):
    """0 is among the factors, so nothing may be divided by them."""
    problem = problem_of(
        rng, dtype, SHAPES[shape], similarity=similarity, softcap=4.0, causal=True, scale=0.4
    )
    dout, dlse = upstream(rng, problem)
    got = gradients(problem, dout, dlse)
    assert got.query_scale.shape == SHAPES[shape]
    check_gradients(problem, got, dout, dlse)


def test_its_gradient_alone(isa, dtype, rng):
    problem = problem_of(rng, dtype, (4, 53), causal=True)
    dout, _ = upstream(rng, problem)
    every = gradients(problem, dout)
    alone = gradients(problem, dout, wrt=["query_scale"])
    assert alone.names == ("query_scale",)
    assert_same_bits(alone.query_scale, every.query_scale)
    for threads in (1, 2, 3):
        again = gradients(problem.but(num_threads=threads), dout)
        assert_same_bits(again.query_scale, every.query_scale)


def test_gradient_of_a_vector_and_of_one_head(rng):
    q, k, v = (rng.standard_normal(s) for s in ((6, 8), (9, 8), (9, 5)))
    for query in (q, q[0]):
        dout = rng.standard_normal((*query.shape[:-1], 5))
        _, vjp = regard.attention_vjp(query, k, v, query_scale=0.3)
        got = vjp(dout, wrt="query_scale").query_scale
        expected = reference.gradients(dout, query, k, v, query_scale=0.3).query_scale
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_gradient_in_a_buffer(rng):
    problem = problem_of(rng, np.float64, (4, 53))
    dout, _ = upstream(rng, problem)
    every = gradients(problem, dout).query_scale
    buffer = np.ones((4, 53))
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    vjp(dout, wrt="query_scale", out={"query_scale": buffer}, accumulate=True)
    np.testing.assert_allclose(buffer, every + 1, rtol=1e-12)


def test_tangents(isa, rng):
    problem = problem_of(rng, np.float64, (2, 4, 53), softcap=3.0, causal=True)
    moves = [rng.standard_normal(x.shape) for x in (problem.query, problem.key, problem.value)]
    arrays = problem.query, problem.key, problem.value
    got = regard.attention_jvp(*arrays, *moves, **problem.options, return_lse=True)
    out, lse, dout, dlse = reference.attention_jvp(*arrays, *moves, **problem.options)
    for one, other in zip((*got[0], *got[1]), (out, lse, dout, dlse), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_packed_pieces(isa, rng):
    starts = np.array([0, 3, 3, 40])
    q, k, v = (rng.standard_normal((40, h, 8)) for h in (4, 2, 2))
    factors = rng.standard_normal((4, 40))
    for given in (factors, factors[0], factors[:, :1]):
        options = {"query_scale": given, "causal": True}
        out, lse = regard.varlen_attention(q, k, v, starts, starts, return_lse=True, **options)
        expected = reference.varlen_attention(q, k, v, starts, starts, return_lse=True, **options)
        np.testing.assert_allclose(out, expected[0], atol=1e-13)
        np.testing.assert_allclose(lse, expected[1], atol=1e-13)
        dout = rng.standard_normal(out.shape)
        _, vjp = regard.varlen_attention_vjp(q, k, v, starts, starts, **options)
        got = vjp(dout, wrt=["query", "key", "query_scale"])
        by_loops = reference.varlen_gradients(dout, q, k, v, starts, starts, **options)
        for name in ("query", "key", "query_scale"):
            np.testing.assert_allclose(
                getattr(got, name), getattr(by_loops, name), atol=1e-12, err_msg=name
            )


def test_cache(rng):
    problem = make_problem(rng, batch=(1,), heads=4, kv_heads=2, queries=3, keys=20, head_dim=8)
    cache = regard.KVCache(batch=1, kv_heads=2, head_dim=8, capacity=32, dtype=np.float32)
    cache.append(problem.key, problem.value)
    factors = np.array([0.5, 2.0, -1.0])
    got = cache.attend(problem.query, query_scale=factors)
    expected = problem.but(query_scale=factors, causal=True).oracle()[0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_rows_that_see_nothing_need_none(isa, dtype, rng):
    """NaN among the factors of queries past their length, and of rows that a mask hides."""
    for rows in (53, 2):
        factors = rng.standard_normal((2, 4, rows))
        lengths = np.array([rows - 1, rows])
        mask = np.ones((rows, 140), bool)
        mask[0] = False
        problem = problem_of(rng, dtype, (), rows).but(
            query_scale=factors, query_lengths=lengths, mask=mask
        )
        out, lse = problem.output_and_lse()
        poisoned = factors.copy()
        poisoned[0, :, rows - 1] = np.nan
        poisoned[:, :, 0] = np.nan
        again = problem.but(query_scale=poisoned)
        assert_same_bits(again.output_and_lse()[0], out)
        assert_same_bits(again.output_and_lse()[1], lse)
        dout = np.ones_like(out)
        got, expected = gradients(again, dout), gradients(problem, dout)
        for name in ("query", "key", "value", "query_scale"):
            assert_same_bits(getattr(got, name), getattr(expected, name))


def test_nan_stays_in_its_row(isa, dtype, rng):
    factors = np.ones(53)
    factors[5] = np.nan
    out = problem_of(rng, dtype, ()).but(query_scale=factors).attention()
    assert np.isnan(out[..., 5, :]).all()
    assert np.isfinite(np.delete(out, 5, axis=-2)).all()


@pytest.mark.parametrize("head_dim", [3, 8, 24])
@pytest.mark.parametrize("rows", [1, 40])
def test_infinite_and_too_large_factors(isa, rng, head_dim, rows):
    """Whatever the kernel: columns that only fill up a vector take no part."""
    x = np.abs(rng.standard_normal((1, rows, head_dim))).astype(np.float32)
    k = np.abs(rng.standard_normal((1, 9, head_dim))).astype(np.float32)
    for factor in (np.inf, 1e39):
        capped = regard.attention(x, k, k, query_scale=factor, softcap=3.0)
        np.testing.assert_allclose(capped, np.broadcast_to(k.mean(-2), x.shape), rtol=1e-6)
        options = {"query_scale": -factor, "sinks": np.zeros(1), "return_lse": True}
        out, lse = regard.attention(x, k, k, **options)
        assert (out == 0).all()
        assert (lse == 0).all()


WRONG = {
    "too long": ((54,), "does not broadcast"),
    "of keys": ((140,), "does not broadcast"),
    "of kv heads": ((2, 53), "does not broadcast"),
    "of other elements": ((3, 4, 53), "does not broadcast"),
    "too many axes": ((2, 2, 4, 53), "does not broadcast"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_shapes_that_do_not_fit(rng, wrong):
    shape, message = WRONG[wrong]
    problem = problem_of(rng, np.float32, ()).but(query_scale=np.ones(shape))
    for call in (problem.attention, lambda: regard.explain(
        problem.query, problem.key, problem.value, **problem.options)):  # fmt: skip
        with pytest.raises(ValueError, match=f"query_scale {message}"):
            call()


@pytest.mark.parametrize("bad", [np.ones(53, complex), np.array(["1"] * 53), object()])
def test_types_that_do_not_fit(rng, bad):
    with pytest.raises(TypeError, match="query_scale"):
        problem_of(rng, np.float32, ()).but(query_scale=bad).attention()


def test_gradient_of_what_is_not_given(rng):
    problem = problem_of(rng, np.float32, ()).but(query_scale=None)
    with pytest.raises(ValueError, match="query_scale"):
        gradients(problem, problem.attention(), wrt=["query_scale"])


def test_explain_names_it(rng):
    problem = problem_of(rng, np.float32, (53,), softcap=2.0)
    plan = regard.explain(problem.query, problem.key, problem.value, **problem.options)
    assert plan.options == "query scale, softcap"
