"""Functions of scores: NumPy's and those with an address, in every kind of call."""

from __future__ import annotations

import ctypes
import threading
import warnings

import numpy as np
import pytest

import regard
from gradient_problems import check_gradients, gradients, upstream
from problems import Problem, assert_same_bits, check, make_problem
from regard import reference
from score_functions import NUMPY, function_type, modified, pulled_back, with_addresses

ROWS = {"blocks": 53, "decode": 2, "one": 1}


def problem_of(rng, dtype, rows=53, **options):
    return make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=rows, keys=300, head_dim=24, value_dim=9,
        dtype=dtype, **options,
    )  # fmt: skip


def both(problem: Problem, dtype) -> tuple[Problem, Problem]:
    """With the function of NumPy arrays, which the oracle knows, and with the one of rows."""
    return problem.but(**NUMPY), problem.but(**with_addresses(dtype))


OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "lag": {"window": (40, -3)},
    "lengths": {"key_lengths": [300, 17], "query_lengths": 1},
    "window of heads": {"window": (np.array([3, -1, 20, 0]), 5)},
    "before and after": {
        "softcap": 2.0, "alibi_slopes": np.ones(4) / 64, "causal": True,
        "position_bias": regard.bias.Relative(np.linspace(-1, 1, 21)[:, np.newaxis]),
    },
    "cosine and sinks": {"similarity": "cosine", "sinks": np.zeros(4), "query_scale": 3.0},
}  # fmt: skip


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("option", OPTIONS)
def test_forward_and_decode(isa, dtype, rng, option, rows):
    by_tile, by_row = both(problem_of(rng, dtype, ROWS[rows], **OPTIONS[option]), dtype)
    got = by_row.output_and_lse()
    check(by_tile)
    check(by_tile, got)  # the oracle calls the same definition


def test_a_bias_of_minus_infinity_and_masks_hide(isa, dtype, rng):
    bias = rng.standard_normal((53, 300)).astype(dtype)
    bias[rng.random(bias.shape) < 0.3] = -np.inf
    mask = rng.random((2, 4, 53, 300)) < 0.5
    for rows in ROWS.values():
        problem = problem_of(rng, dtype, rows, bias=bias[:rows], mask=mask[:, :, :rows])
        by_tile, by_row = both(problem, dtype)
        check(by_tile)
        check(by_tile, by_row.output_and_lse())


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_16_bits(isa, rng, kind):
    from storage_types import FLOATS, rounded

    for rows in ROWS.values():
        problem = problem_of(rng, np.float32, rows, causal=True, **NUMPY)
        arrays = {n: rounded(getattr(problem, n), FLOATS[kind]) for n in ("query", "key", "value")}
        check(problem.but(**arrays))


def test_the_identity_is_no_function(isa, dtype, rng):
    for rows in ROWS.values():
        problem = problem_of(rng, dtype, rows, causal=True)
        plain = problem.output_and_lse()
        found = problem.but(score_mod=lambda s, b, h, i, j: s).output_and_lse()
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 if dtype == np.float32 else 1e-13)


def test_weights_summary_and_stages(isa, dtype, rng):
    by_tile, by_row = both(problem_of(rng, dtype, causal=True, softcap=2.0), dtype)
    arrays, options = (by_tile.query, by_tile.key), by_tile.options
    expected = reference.weights(*arrays, **options)
    near = 1e-5 if dtype == np.float32 else 1e-13
    for problem in (by_tile, by_row):
        weights = regard.attention_weights(*arrays, **problem.options)
        np.testing.assert_allclose(weights, expected, atol=near)
        summary = regard.attention_summary(*arrays, **problem.options)
        np.testing.assert_allclose(summary.row_max, expected.max(-1), rtol=1e-4)
    for stage in ("scaled", "softcapped", "masked"):
        found = regard.attention_weights(*arrays, stage=stage, **options)
        np.testing.assert_allclose(
            found, reference.weights(*arrays, stage=stage, **options), atol=20 * near
        )


@pytest.mark.parametrize("option", OPTIONS)
def test_gradients(isa, dtype, rng, option):
    by_tile, by_row = both(problem_of(rng, dtype, **OPTIONS[option]), dtype)
    dout, dlse = upstream(rng, by_tile)
    check_gradients(by_tile, gradients(by_tile, dout, dlse), dout, dlse)
    check_gradients(by_tile, gradients(by_row, dout, dlse), dout, dlse)


def test_gradients_are_derivatives(rng):
    q, k, v = rng.standard_normal((3, 4, 7, 5))
    slopes = np.full(4, 0.1)
    out, vjp = regard.attention_vjp(q, k, v, alibi_slopes=slopes, **NUMPY)
    move = rng.standard_normal(q.shape)
    dout = rng.standard_normal(out.shape)
    found = vjp(dout, wrt=("query", "alibi_slopes"))

    def loss(step, slope=0.0):
        moved = regard.attention(
            q + step * move, k, v, alibi_slopes=slopes + slope, score_mod=modified
        )
        return (moved * dout).sum()

    by_query = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose((found.query * move).sum(), by_query, rtol=1e-6)
    by_slope = (loss(0, 1e-5) - loss(0, -1e-5)) / 2e-5
    np.testing.assert_allclose(found.alibi_slopes.sum(), by_slope, rtol=1e-6)
    pushed = regard.attention_jvp(q, k, v, move, alibi_slopes=slopes, **NUMPY)[1]
    np.testing.assert_allclose((pushed * dout).sum(), by_query, rtol=1e-6)


def test_tangents(isa, dtype, rng):
    by_tile, by_row = both(problem_of(rng, dtype, causal=True, softcap=3.0), dtype)
    arrays = by_tile.query, by_tile.key, by_tile.value
    moves = [rng.standard_normal(x.shape).astype(dtype) for x in arrays]
    expected = reference.attention_jvp(*arrays, *moves, **by_tile.options)[2]
    for problem in (by_tile, by_row):
        found = regard.attention_jvp(*arrays, *moves, **problem.options)[1]
        np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == np.float32 else 1e-12)


def test_packed_pieces_are_elements(rng):
    x = rng.standard_normal((3, 40, 2, 8))
    starts = [0, 3, 25, 40]
    found = regard.varlen_attention(*x, starts, starts, score_mod=modified, causal=True)
    expected = reference.varlen_attention(*x, starts, starts, score_mod=modified, causal=True)
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_same_bits_for_any_threads_and_batch(isa, dtype, rng):
    problem = both(problem_of(rng, dtype, 200, causal=True), dtype)[1]
    one = problem.output_and_lse(num_threads=1)
    assert_same_bits(problem.output_and_lse(num_threads=2), one)
    first = problem.but(query=problem.query[:1], key=problem.key[:1], value=problem.value[:1])
    assert_same_bits(first.output_and_lse(), tuple(x[:1] for x in one))


def test_rows_are_called_for_keys_within_reach_alone(isa, dtype, rng):
    """So a function may look a distance up in a table that ends where the reach does."""
    for rows in (150, 2):
        calls: list[tuple[int, ...]] = []
        problem = problem_of(
            rng, dtype, rows, window=(9, 2), key_lengths=[300, 170], **with_addresses(dtype, calls)
        )
        problem.output_and_lse()
        seen = np.zeros((2, 4, rows, 300), int)
        for count, query, first, head, batch in calls:
            seen[batch, head, query, first : first + count] += 1
        np.testing.assert_array_equal(seen, problem.sees)


def test_scores_out_of_reach_are_never_garbage(isa, dtype, rng):
    """Hidden keys may hold anything: nobody is told of it but the function itself."""
    problem = problem_of(rng, dtype, 40, key_lengths=[200, 0], causal=True, **NUMPY)
    expected = problem.output_and_lse()
    key = problem.key.copy()
    key[:, :, 200:] = np.nan
    poisoned = problem.but(key=key)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(poisoned.output_and_lse(), expected)


def test_what_a_function_raises_is_raised(isa, dtype, rng):
    calls = []

    def fails(s, b, h, i, j):
        calls.append(threading.get_ident())
        if len(calls) > 3:
            raise KeyError("mine")
        return s

    problem = problem_of(rng, dtype, 200)
    out = np.full((2, 4, 200, 9), 7, dtype)
    for threads in (1, 2):
        calls.clear()
        with pytest.raises(KeyError, match="mine"):
            problem.attention(score_mod=fails, out=out, num_threads=threads)
        # None after it; but the other thread may get the GIL on the exception's way out.
        assert 4 <= len(calls) <= 3 + threads
        np.testing.assert_array_equal(out, 7)
    whole = problem.attention(score_mod=modified, out=out)
    assert whole is out
    assert_same_bits((out,), (problem.attention(score_mod=modified),))


def test_gradients_in_buffers_are_whole_or_untouched(rng):
    q, k, v, dout = rng.standard_normal((4, 2, 50, 8))

    def fails(d, s, b, h, i, j):
        raise ArithmeticError("no slope")

    _, vjp = regard.attention_vjp(q, k, v, score_mod=modified, score_mod_gradient=fails)
    buffers = {"query": np.full(q.shape, 3.0)}
    for accumulate in (False, True):
        with pytest.raises(ArithmeticError, match="no slope"):
            vjp(dout, wrt="query", out=buffers, accumulate=accumulate)
        np.testing.assert_array_equal(buffers["query"], 3.0)
    _, vjp = regard.attention_vjp(q, k, v, **NUMPY)
    fresh = vjp(dout, wrt="query").query
    found = vjp(dout, wrt="query", out=buffers, accumulate=True)
    np.testing.assert_allclose(found.query, fresh + 3, atol=1e-12)
    assert found.query is buffers["query"]


def test_kept_scores_stay(rng):
    """What a function keeps is its own: no view of memory that is used again."""
    kept = []
    x = rng.standard_normal((2, 40, 8))
    regard.attention(x, x, x, score_mod=lambda s, *place: kept.append(s) or s)
    copies = [s.copy() for s in kept]
    regard.attention(x, x + 1, x, score_mod=lambda s, *place: s + 1)
    for one, other in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(one, other)


X = np.zeros((2, 5, 4), np.float32)


def _untyped():
    return ctypes.CDLL(None).abs


BAD = {
    "a number": (3.0, TypeError, "score_mod is a float"),
    "a class": (dict, TypeError, "score_mod is a type"),
    "float64": (function_type(np.float64, 1)(), TypeError, "For\n?.*scores in float32 it is"),
    "a gradient": (function_type(np.float32, 2)(), TypeError, "has the signature"),
    "no argtypes": (_untyped(), TypeError, "set argtypes"),
    "address 0": (function_type(np.float32, 1)(), TypeError, "address 0"),
    "shape": (lambda s, b, h, i, j: s[:, :2], ValueError, "returned shape"),
    "nothing": (lambda s, b, h, i, j: None, TypeError, "returned object"),
    "bool": (lambda s, b, h, i, j: s > 0, TypeError, "returned bool"),
    "arguments": (lambda s: s, TypeError, "positional argument"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_functions(case):
    function, error, message = BAD[case]
    x = np.random.default_rng(0).standard_normal(X.shape, dtype=np.float32)
    with pytest.raises(error, match=message):
        regard.attention(x, x[:, :3], x[:, :3], score_mod=function)


def test_a_gradient_is_needed_and_needs_a_function():
    for function in (regard.attention_vjp, regard.attention_jvp):
        with pytest.raises(ValueError, match=rf"{function.__name__}: score_mod has no gradient"):
            function(X, X, X, score_mod=modified)
    with pytest.raises(ValueError, match="score_mod_gradient is given without score_mod"):
        regard.attention(X, X, X, score_mod_gradient=pulled_back)


def test_explain_says_what_it_costs():
    x = np.zeros((8, 1000, 64), np.float32)
    compiled = regard.explain(x, x, x, **with_addresses(np.float32))
    assert compiled.options == "score mod"
    assert compiled.score_mod_calls == 8 * 1000 * -(-1000 // compiled.key_tile)
    assert regard.explain(x, x, x, score_mod=modified).options == "score mod in Python"
    calls: list[int] = []
    for options in ({"causal": True}, {"window": (100, 0)}, {}):
        plan = regard.explain(x, x, x, score_mod=modified, **options)
        calls.clear()
        regard.attention(x, x, x, score_mod=lambda s, *p: calls.append(1) or s, **options)
        assert 0.9 * len(calls) <= plan.score_mod_calls <= 1.5 * len(calls)
        assert f"score_mod_calls  {plan.score_mod_calls}" in str(plan)
    plain = regard.explain(x, x, x)
    assert plain.score_mod_calls == 0
    assert "score_mod_calls" not in str(plain)


def test_capsules_and_user_data(dtype, rng):
    """As SciPy's LowLevelCallable and Cython hand functions over."""
    number = "float" if dtype == np.float32 else "double"
    seen = []

    def rows(scores, count, query, first, head, batch, user):
        seen.append(ctypes.cast(user, ctypes.POINTER(ctypes.c_double))[0])
        np.ctypeslib.as_array(scores, (count,))[...] *= 0.5

    function = function_type(dtype, 1)(rows)
    name = f"void ({number} *, int64_t, int64_t, int64_t, int64_t, int64_t, void *)".encode()
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    )
    capsule = new(ctypes.cast(function, ctypes.c_void_p), name, None)
    data = ctypes.c_double(2.5)
    ctypes.pythonapi.PyCapsule_SetContext.argtypes = (ctypes.py_object, ctypes.c_void_p)
    ctypes.pythonapi.PyCapsule_SetContext(capsule, ctypes.addressof(data))
    problem = problem_of(rng, dtype, 9)
    expected = problem.but(score_mod=lambda s, *place: s * 0.5)
    for given in (capsule, (capsule, None, None)):
        seen.clear()
        check(expected, problem.but(score_mod=given).output_and_lse())
        assert set(seen) == {2.5}


def test_numba(dtype, rng):
    numba = pytest.importorskip("numba")
    number = numba.float32 if dtype == np.float32 else numba.float64
    signature = numba.void(numba.types.CPointer(number), *[numba.int64] * 5, numba.types.voidptr)

    @numba.cfunc(signature)
    def halved(scores, count, query, first, head, batch, user):
        for n in range(count):
            scores[n] = scores[n] * number(0.5)

    problem = problem_of(rng, dtype, 30, causal=True)
    expected = problem.but(score_mod=lambda s, *place: s * 0.5)
    check(expected, problem.but(score_mod=halved).output_and_lse())


def test_scipy(dtype, rng):
    scipy = pytest.importorskip("scipy")
    function = with_addresses(dtype)["score_mod"]
    problem = problem_of(rng, dtype, 9)
    got = problem.but(score_mod=scipy.LowLevelCallable(function)).output_and_lse()
    check(problem.but(**NUMPY), got)
