"""``quantize_kv``: nearest integers of each row's own scale."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from layouts import LAYOUTS
from regard._bfloat16 import MARKER, carrier, narrowed, widened


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_error_is_half_a_scale(isa, rng, dtype):
    x = (rng.standard_normal((2, 3, 50, 33)) * np.exp2(rng.integers(-8, 8, (2, 3, 50, 1)))).astype(
        dtype
    )
    quantized, scales = regard.quantize_kv(x)
    assert quantized.dtype == np.int8
    assert scales.dtype == np.float32
    assert quantized.shape == x.shape
    assert scales.shape == x.shape[:-1]
    assert quantized.min() == -127  # symmetric: -128 is not used
    assert (np.abs(quantized).max(axis=-1) == 127).all()
    np.testing.assert_array_equal(
        scales, np.abs(x).max(axis=-1).astype(np.float32) / np.float32(127)
    )
    back = quantized * scales[..., np.newaxis].astype(np.float64)
    assert (np.abs(back - x) <= scales[..., np.newaxis] * (0.5 + 1e-4)).all()


def test_ties_go_to_even(isa):
    row = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5], np.float32)
    quantized, scales = regard.quantize_kv(row)
    assert scales == 1
    assert quantized.tolist() == [127, 0, 2, 2, 0, -2, 126]


def test_quantizing_again_changes_nothing(rng):
    quantized, scales = regard.quantize_kv(rng.standard_normal((4, 9, 64)))
    again, same = regard.quantize_kv(quantized * scales[..., np.newaxis])
    np.testing.assert_array_equal(again, quantized)
    np.testing.assert_allclose(same, scales, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(isa, rng, layout):
    x = rng.standard_normal((2, 3, 7, 20)).astype(np.float32)
    for got, expected in zip(
        regard.quantize_kv(LAYOUTS[layout](x)), regard.quantize_kv(x), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [MARKER, carrier()])
def test_bfloat16(isa, rng, dtype):
    half = narrowed(rng.standard_normal((2, 5, 8)), dtype)
    for got, expected in zip(
        regard.quantize_kv(half), regard.quantize_kv(widened(half)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("largest", [0.0, 1e-45, 8e-44, 2.7e-43, 1e-40, 1.2e-38, 3.4e38])
def test_rows_of_tiny_and_huge_numbers(isa, largest):
    row = np.array([largest, -largest, largest / 3, 0], np.float32)
    quantized, scales = regard.quantize_kv(row)
    assert np.isfinite(scales)
    back = quantized * np.float64(scales)
    # A scale among the smallest numbers is rough.
    assert (np.abs(back - row) <= max(scales / 2, 127 * 2.0**-149) * 1.001).all()
    assert quantized.min() >= -127


@pytest.mark.parametrize("shape", [(0, 4, 8), (2, 0, 8), (2, 4, 0), (1,)])
def test_empty_axes(shape):
    quantized, scales = regard.quantize_kv(np.zeros(shape, np.float32))
    assert quantized.shape == shape
    assert scales.shape == shape[:-1]
    assert (scales == 0).all()


def test_lists():
    assert regard.quantize_kv([[1.0, -0.5]])[0].tolist() == [[127, -64]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_no_scale_stands_for(isa, rng, bad):
    """NaN in what is attended to must not come out as a number."""
    for dim in (8, 33, 64):
        x = rng.standard_normal((2, 5, dim)).astype(np.float32)
        clean, clean_scales = regard.quantize_kv(x)
        x[1, 2, 3] = bad
        quantized, scales = regard.quantize_kv(x)
        assert np.isnan(scales[1, 2])
        clean_scales[1, 2], clean[1, 2], quantized[1, 2] = scales[1, 2], 0, 0
        np.testing.assert_array_equal(scales, clean_scales)
        np.testing.assert_array_equal(quantized, clean)
        query = np.ones((2, 3, dim), np.float32)
        out = regard.attention(query, quantized, quantized, key_scales=scales, value_scales=scales)
        assert np.isnan(out[1]).all()
        assert np.isfinite(out[0]).all()


def test_too_large_for_a_float32():
    quantized, scales = regard.quantize_kv(np.array([[1e300, 1.0], [2.0, -1.0]]))
    assert np.isnan(scales[0])
    assert quantized[1].tolist() == [127, -64]


def test_other_byte_order(rng):
    x = rng.standard_normal((3, 8)).astype(np.float32)
    for got, expected in zip(
        regard.quantize_kv(x.astype(">f4")), regard.quantize_kv(x), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_misuse():
    with pytest.raises(TypeError, match="quantize_kv: x has dtype int8, shape"):
        regard.quantize_kv(np.zeros((2, 3), np.int8))
    with pytest.raises(ValueError, match="quantize_kv: x has no axis"):
        regard.quantize_kv(1.0)
