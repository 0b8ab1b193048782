"""Hypothesis: gradients of all options together, on every ISA, against the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import regard
from any_options import isas, layouts, poisoned, problems, thorough
from gradient_problems import check_gradients, gradients, wanted
from problems import assert_same_bits
from regard import reference
from regard.reference._stored import values


def with_mild_sinks(problem):
    """Without sinks so large that a row has no weight left, whose gradients are all rounding."""
    sinks = problem.options.get("sinks")
    return problem if sinks is None else problem.but(sinks=np.minimum(sinks, 3.0))


@thorough
@given(isas, problems(storage=False).map(with_mild_sinks), st.booleans(), st.data())
def test_all_options_together(isa, problem, poison, data):
    out, lse = problem.oracle()
    rng = np.random.default_rng(problem.query.size)
    dtype = problem.query.dtype
    dout = rng.standard_normal(out.shape).astype(dtype)
    dlse = rng.standard_normal(lse.shape).astype(dtype) if data.draw(st.booleans()) else None
    laid_out = poisoned(problem) if poison else problem
    laid_out = laid_out.but(
        **{n: data.draw(layouts)(getattr(laid_out, n)) for n in ("query", "key", "value")}
    )
    blind = ~problem.sees.any(axis=-1)
    bad = np.where(blind[..., np.newaxis], np.nan, dout).astype(dtype) if poison else dout
    names = wanted(problem)
    with regard.set_isa(isa):
        got = gradients(laid_out, data.draw(layouts)(bad), dlse)
        threads = data.draw(st.integers(1, 4))
        again = gradients(laid_out.but(num_threads=threads), bad, dlse)
    for name in names:
        assert_same_bits(values(getattr(got, name)), values(getattr(again, name)))
    if poison:
        broadcast = {n: getattr(laid_out, n) for n in ("query", "key", "value")}
        assert all(np.isfinite(getattr(got, n)).all() for n in names if n in broadcast)
        problem = problem.but(**{n: np.nan_to_num(x) for n, x in broadcast.items()})
    check_gradients(problem, got, dout, dlse)


@given(isas, problems(storage=False), st.data())
def test_forward_mode(isa, problem, data):
    arrays = problem.query, problem.key, problem.value
    rng = np.random.default_rng(problem.query.size)
    moves = [
        rng.standard_normal(x.shape).astype(x.dtype) if data.draw(st.booleans()) else None
        for x in arrays
    ]
    with regard.set_isa(isa):
        (out, lse), (dout, dlse) = regard.attention_jvp(
            *arrays, *moves, return_lse=True, **problem.options
        )
    options = {n: x for n, x in problem.options.items() if n != "num_threads"}
    expected, expected_lse, move, lse_move = reference.attention_jvp(*arrays, *moves, **options)
    eps = np.finfo(out.dtype).eps
    output_error, lse_error = problem.tolerance()
    np.testing.assert_allclose(out, expected, rtol=0, atol=output_error)
    seen = np.isfinite(expected_lse)
    np.testing.assert_array_equal(np.isfinite(lse), seen)
    np.testing.assert_allclose(lse[seen], expected_lse[seen], rtol=2 * eps, atol=lse_error)
    # Errors of the weights, of as many terms as cancel in dS - dLSE.
    atol = 8 * (lse_error + 64 * eps)
    for one, other in ((dout, move), (dlse, lse_move)):
        np.testing.assert_allclose(
            one, other, rtol=0, atol=atol * (np.abs(other).max(initial=0) + 1)
        )
