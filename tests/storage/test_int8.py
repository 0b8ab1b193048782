"""int8 keys and values: attention on exactly the numbers that integers and scales stand for."""

from __future__ import annotations

import re

import numpy as np
import pytest

import regard
from layouts import LAYOUTS
from problems import Problem, assert_close, assert_same_bits, check, make_problem
from storage_types import FLOATS, rounded

SIZES = {
    "forward": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 50, "keys": 140},
    "decode": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 1, "keys": 300},
    "few queries": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 4, "keys": 300},
}


@pytest.fixture(params=SIZES)
def problem(request, rng):
    return make_problem(rng, head_dim=24, value_dim=20, **SIZES[request.param])


def quantized(problem: Problem) -> Problem:
    key, key_scales = regard.quantize_kv(problem.key)
    value, value_scales = regard.quantize_kv(problem.value)
    return problem.but(key=key, value=value, key_scales=key_scales, value_scales=value_scales)


def test_is_attention_on_the_dequantized(isa, problem):
    both = quantized(problem)
    wide = {n: np.float32(getattr(both.plain, n)) for n in ("key", "value")}
    for options in ({}, {"causal": True}, {"softcap": 2.0}, {"similarity": "cosine"}):
        got = both.but(**options).output_and_lse()
        check(both.but(**options), got)
        expected = problem.but(**wide, **options)
        error, lse_error = expected.tolerance()
        out, lse = expected.output_and_lse()
        assert_close(got[0], out.astype(np.float64), 2 * error)
        assert_close(got[1], lse.astype(np.float64), 2 * lse_error)


def test_close_to_what_was_quantized(isa, problem):
    """Values off by half a 127th of their rows' largest move the output by no more."""
    both = quantized(problem)
    out = problem.attention()
    only_values = problem.but(value=both.value, value_scales=both.options["value_scales"])
    error = both.options["value_scales"].max() / 2
    assert np.abs(only_values.attention() - out).max() <= error * (1 + 1e-4)
    assert np.abs(both.attention() - out).max() <= 0.1


@pytest.mark.parametrize("query", FLOATS)
def test_any_query(isa, problem, query):
    both = quantized(problem)
    check(both.but(query=rounded(problem.query, FLOATS[query])))


@pytest.mark.parametrize("which", ["key", "value"])
@pytest.mark.parametrize("magnitude", [1e-36, 1e-20, 1e20, 0.0, -1.0])
def test_scales_of_any_size_and_sign(isa, problem, which, magnitude):
    both = quantized(problem)
    if which == "key":
        # Keys this large want queries as small: scores stay within their range.
        factor = np.float32(min(1, 1 / abs(magnitude)) if magnitude > 1 else 1)
        both = both.but(query=both.query * factor)
    scales = both.options[f"{which}_scales"] * np.float32(magnitude)
    check(both.but(**{f"{which}_scales": scales}))


def test_every_integer(isa):
    """-128 as well, which `quantize_kv` does not make."""
    integers = np.arange(-128, 128, dtype=np.int8)
    one, zero = np.ones((256, 1, 1), np.float32), np.zeros((256, 1, 1), np.float32)
    column, scales = integers[:, None, None], np.full((256, 1), 0.5, np.float32)
    out = regard.attention(zero, column, column, key_scales=scales, value_scales=scales)
    np.testing.assert_allclose(out[:, 0, 0], integers * 0.5, rtol=2**-22)
    _, lse = regard.attention(
        one, column, column, key_scales=scales, value_scales=scales, scale=1.0, return_lse=True
    )
    np.testing.assert_allclose(lse[:, 0], integers * 0.5, rtol=2**-21, atol=2**-23)
    # And through the kernel for blocks of queries: each sees its own key.
    rows = np.repeat(integers[:, None], 8, axis=1)
    out = regard.attention(
        np.zeros((256, 8), np.float32), rows, rows, window=0, key_scales=scales[:, 0],
        value_scales=scales[:, 0],
    )  # fmt: skip
    np.testing.assert_allclose(out, rows * 0.5, rtol=2**-22)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_scales(isa, problem, layout):
    both = quantized(problem)
    expected = both.output_and_lse()
    moved = {n: LAYOUTS[layout](both.options[n]) for n in ("key_scales", "value_scales")}
    assert_same_bits(both.but(**moved).output_and_lse(), expected)


def test_one_scale_for_all(isa, problem):
    """Of stride 0, or of axes of 1, which broadcast."""
    both = quantized(problem)
    scales = np.broadcast_to(np.float32(0.01), both.key.shape[:-1])
    view = both.but(key_scales=scales, value_scales=scales)
    copy = both.but(key_scales=scales.copy(), value_scales=scales.copy())
    expected = copy.output_and_lse()
    assert_same_bits(view.output_and_lse(), expected)
    one = both.but(key_scales=scales[:1, :1, :1], value_scales=scales[0, :, :1])
    assert_same_bits(one.output_and_lse(), expected)
    check(one, expected)


# An infinite scale of a key makes a score NaN or infinite as its product may be: of no use.
@pytest.mark.parametrize(("which", "bad"), [
    ("key_scales", np.nan), ("value_scales", np.nan), ("value_scales", np.inf),
])  # fmt: skip
def test_bad_scales_reach_the_rows_that_see_them(isa, problem, which, bad):
    both = quantized(problem).but(causal=True)
    scales = both.options[which].copy()
    scales[0, 1, -1] = bad
    scales[1, 0, 3] = bad
    changed = both.but(**{which: scales})
    got, expected = changed.output_and_lse(), changed.oracle()
    # An integer 0 times infinity is NaN here and there; what is not NaN is as it was.
    np.testing.assert_array_equal(np.isnan(got[1]), np.isnan(expected[1]))
    np.testing.assert_array_equal(np.isfinite(got[0]), np.isfinite(expected[0]))
    clean = both.output_and_lse()
    same = np.isfinite(expected[0])
    assert_close(got[0][same], clean[0][same].astype(np.float64), 2 * both.tolerance()[0])


QUERY = np.ones((2, 4, 3, 8), np.float32)
INT8 = np.ones((2, 2, 5, 8), np.int8)
WIDE = np.ones((2, 2, 5, 8), np.float32)
SCALES = np.ones((2, 2, 5), np.float32)
GOOD = {"key": INT8, "value": INT8, "key_scales": SCALES, "value_scales": SCALES}
CASES = {
    "no key_scales": ("key", {"key_scales": None}),
    "no value_scales": ("value", {"value_scales": None}),
    "scales of float keys": ("key_scales", {"key": WIDE}),
    "scales of float values": ("value_scales", {"value": WIDE}),
    "key_scales of other keys": ("key_scales", {"key_scales": SCALES[..., :4]}),
    "value_scales of other heads": ("value_scales", {"value_scales": SCALES[:, [0, 0, 1]]}),
    "value_scales of another batch": ("value_scales", {"value_scales": SCALES[[0, 0, 1]]}),
    "key_scales with dim": ("key_scales", {"key_scales": SCALES[..., None]}),
    "no axis": ("key_scales", {"key_scales": np.float32(1)}),
    "float64": ("key_scales", {"key_scales": SCALES.astype(np.float64)}),
    "float16": ("value_scales", {"value_scales": SCALES.astype(np.float16)}),
    "integers": ("value_scales", {"value_scales": SCALES.astype(int)}),
    "strings": ("key_scales", {"key_scales": SCALES.astype(str)}),
    "int16 keys": ("key", {"key": INT8.astype(np.int16)}),
    "uint8 values": ("value", {"value": INT8.astype(np.uint8)}),
    "float64 query": ("query", {"query": QUERY.astype(np.float64)}),
    "int8 query": ("query", {"query": QUERY.astype(np.int8)}),
}


@pytest.mark.parametrize("case", CASES)
def test_misuse(case):
    name, changed = CASES[case]
    arguments = {"query": QUERY, **GOOD, **changed}
    canary = np.full(QUERY.shape, 123.5, np.float32)
    with pytest.raises((ValueError, TypeError)) as error:
        regard.attention(**arguments, out=canary)
    first, *others = str(error.value).split("\n")
    assert re.match(rf"attention: .*\b{name}\b", first), str(error.value)
    assert others, str(error.value)
    assert all(line.startswith("  ") for line in others), str(error.value)
    assert (canary == 123.5).all()


@pytest.mark.parametrize("name", ["key", "value"])
def test_missing_scales_are_what_is_said(name):
    """And not that int8 became float64 on its way."""
    arguments = {"query": QUERY, **GOOD, f"{name}_scales": None}
    with pytest.raises(TypeError, match=f"attention: {name} has dtype int8 and no scales"):
        regard.attention(**arguments)


def test_the_good_call_is_good():
    assert (regard.attention(QUERY, **GOOD) == 1).all()
    assert (regard.attention(QUERY, INT8, WIDE, key_scales=SCALES) == 1).all()
    assert (regard.attention(QUERY, WIDE, INT8, value_scales=SCALES) == 1).all()
