"""No cast of bfloat16 is wrong without a word, whether or not ml_dtypes is installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import regard
from regard import BFloat16Array

NUMBERS = np.array([1.0, -2.5, 0.456, 3e38, np.inf, -0.0], np.float32)
# The nearest numbers of eight bits: 0.456 * 512 = 233.5 - 0.03, and 3e38 / 2**120 = 225.7.
HELD = np.array([1.0, -2.5, 233.0 / 512, 226.0 * 2.0**120, np.inf, -0.0], np.float32)


@pytest.fixture
def carried():
    """What there is without ml_dtypes. It is taken as well where that package is installed."""
    return BFloat16Array(regard.to_bfloat16(NUMBERS).view(np.uint16))


def test_casts_by_name_are_right():
    half = regard.to_bfloat16(NUMBERS)
    assert half.dtype == regard.bfloat16
    np.testing.assert_array_equal(regard.to_float32(half), HELD)
    assert np.isnan(regard.to_float32(regard.to_bfloat16([np.nan]))).all()
    plain = regard.to_float32(NUMBERS)
    assert plain is NUMBERS
    for other in (NUMBERS.astype(np.float64), NUMBERS.astype("f4")[::-1][::-1], NUMBERS.tolist()):
        np.testing.assert_array_equal(regard.to_bfloat16(other).view("u2"), half.view("u2"))
    np.testing.assert_array_equal(regard.to_float32([True, False]), [1, 0])


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "?", "c16", object])
def test_reading_gives_the_values(carried, dtype):
    some = carried[:3]
    expected = HELD[:3].astype(dtype)
    np.testing.assert_array_equal(np.asarray(some, dtype), expected)
    np.testing.assert_array_equal(np.array(some).astype(dtype), expected)
    into = np.zeros(3, dtype)
    into[...] = some
    np.testing.assert_array_equal(into, expected)


def test_arithmetic_is_that_of_float32(carried):
    some = carried[:3]
    for got, expected in (
        (some + 1, HELD[:3] + 1),
        (2 * some, 2 * HELD[:3]),
        (np.ones(3) - some, 1 - HELD[:3].astype(np.float64)),
        (some == some, [True] * 3),
        (some < 0, [False, True, False]),
        (np.isinf(carried), np.isinf(HELD)),
        (np.max(carried), np.inf),
        (np.concatenate([some, HELD]), np.concatenate([HELD[:3], HELD])),
    ):
        np.testing.assert_array_equal(got, expected)
    assert repr(some) == "BFloat16Array([ 1.        , -2.5       ,  0.45507812])"


def test_what_a_number_would_be_made_of_by_its_bits_raises(carried):
    for wrong in (
        lambda: carried.astype(np.float32),
        lambda: NUMBERS.astype(carried),
        lambda: NUMBERS.astype(carried.dtype),
        lambda: carried.__setitem__(0, 1.5),
        lambda: carried.__iadd__(1),
        lambda: np.add(NUMBERS, 1, out=carried),
        lambda: np.add.at(carried, 0, 1),
        lambda: np.copyto(carried, NUMBERS),
        lambda: float(carried[0]),
        lambda: np.asarray(carried, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.0.0"
        else carried.__array__(copy=False),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError, AttributeError)):
            wrong()


def test_it_is_a_view_of_its_bits():
    bits = np.zeros((4, 3), np.uint16)
    x = BFloat16Array(bits)
    bits[1, 2] = 0x3F80
    assert np.asarray(x[1:])[0, 2] == 1
    assert (x.shape, len(x), x.nbytes, x[1, 2].shape) == ((4, 3), 4, 24, ())
    for wrong in ([1], np.zeros(3), np.zeros(3, ">u2"), np.zeros(3, np.int16)):
        with pytest.raises(TypeError, match="BFloat16Array: bits is of"):
            BFloat16Array(wrong)


@pytest.mark.parametrize("function", ["to_bfloat16", "to_float32"])
def test_what_is_no_number_is_refused(function):
    for wrong in (["a"], 1j, np.zeros(2, ">f4"), np.ma.zeros(2)):
        with pytest.raises(TypeError, match=f"^{function}: x (has|is)"):
            getattr(regard, function)(wrong)


def test_functions_take_it(rng, carried):
    """Keys and values in place; elsewhere as the float32 numbers that they are."""
    key, value = rng.standard_normal((2, 3, 7, 8)).astype(np.float32)
    query = rng.standard_normal((3, 2, 8)).astype(np.float32)
    halves = [BFloat16Array(regard.to_bfloat16(x).view(np.uint16)) for x in (key, value)]
    wide = [regard.to_float32(x) for x in halves]
    expected = regard.attention(query, *wide)
    np.testing.assert_allclose(regard.attention(query, *halves), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        regard.reference.attention(query, *halves), expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(regard.quantize_kv(halves[0])[0], regard.quantize_kv(wide[0])[0])
    np.testing.assert_array_equal(regard.positions.rope(halves[0]), regard.positions.rope(wide[0]))
    for dtype in ("bfloat16", "int8", "float64"):
        one, other = (regard.KVCache(1, 3, 8, 7, dtype) for _ in range(2))
        one.append(*halves)
        other.append(*wide)
        of_query = query.astype(np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_array_equal(one.attend(of_query), other.attend(of_query))


WITHOUT = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np
import regard
from regard import *

def refused(call, *words):
    try:
        call()
    except ImportError as error:
        assert "pip install 'regard[bfloat16]'" in str(error), error
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(words)

rng = np.random.default_rng(0)
x, y, z = rng.standard_normal((3, 2, 9, 8), dtype=np.float32)
"""


def run_without(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + program],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_without_ml_dtypes_there_is_no_dtype():
    run_without(
        """
refused(lambda: regard.bfloat16, "ml_dtypes, which is not installed", "to_bfloat16")
refused(lambda: x.astype(regard.bfloat16))
half = regard.to_bfloat16(x)
assert type(half) is regard.BFloat16Array
np.testing.assert_allclose(regard.to_float32(half), x, rtol=2.0**-8)
np.testing.assert_array_equal(np.asarray(half), regard.to_float32(half))
import inspect
inspect.getmembers(regard)
"""
    )


def test_without_ml_dtypes_keys_and_values_are_read_and_results_refused():
    run_without(
        """
key, value = regard.to_bfloat16(y), regard.to_bfloat16(z)
wide = regard.to_float32(key), regard.to_float32(value)
out = regard.attention(x, key, value, causal=True)
assert out.dtype == np.float32
np.testing.assert_allclose(out, regard.attention(x, *wide, causal=True), rtol=1e-5, atol=1e-6)
half = regard.to_bfloat16(x)
refused(lambda: regard.attention(half, key, value), "query is bfloat16", "to_float32(query)")
refused(lambda: regard.varlen_attention(half, key, value, [0, 2], [0, 2]), "query is bfloat16")
refused(lambda: regard.attention_vjp(half, y, z), "query is bfloat16")
refused(lambda: regard.attention_vjp(x, key, z), "key is bfloat16")
refused(lambda: regard.attention_jvp(x, y, value), "value is bfloat16")
bias = regard.to_bfloat16(np.ones((2, 9, 9)))
pull_back = regard.attention_vjp(x, y, z, bias=bias)[1]
refused(lambda: pull_back(np.ones_like(x), wrt=["bias"]), "bias is bfloat16")
assert pull_back(np.ones_like(x)).query.dtype == np.float32
refused(lambda: regard.attention_weights(half, key), "query is bfloat16")
assert regard.positions.rope(half).dtype == np.float32
cache = regard.KVCache(1, 2, 8, 9, "bfloat16")
cache.append(key, value)
np.testing.assert_allclose(cache.attend(x), out, rtol=1e-5, atol=1e-6)
refused(lambda: cache.attend(half), "query is bfloat16")
"""
    )


def test_without_ml_dtypes_tensors_of_bfloat16_are_read():
    """As they come by DLPack from other libraries."""
    pytest.importorskip("torch")
    run_without(
        """
import torch
import regard.torch
tensors = [torch.from_numpy(a).bfloat16() for a in (x, y, z)]
wide = [t.float().numpy() for t in tensors]
np.testing.assert_array_equal(regard.to_float32(tensors[0]), wide[0])
np.testing.assert_allclose(
    regard.attention(x, *tensors[1:]), regard.attention(x, *wide[1:]), rtol=1e-5, atol=1e-6
)
refused(lambda: regard.attention(*tensors), "query is bfloat16")
# Tensors in, tensors out: that needs no package.
for t in tensors:
    t.requires_grad_()
out = regard.torch.attention(*tensors)
assert out.dtype == torch.bfloat16
np.testing.assert_allclose(
    out.detach().float().numpy(), regard.attention(*wide), rtol=2.0**-7, atol=2.0**-9
)
out.float().sum().backward()
np.testing.assert_allclose(  # each value's share of all queries' weights
    tensors[2].grad.float().numpy()[..., 0],
    regard.attention_weights(wide[0], wide[1]).sum(axis=-2),
    rtol=2.0**-6, atol=2.0**-8,
)
"""
    )
