"""bfloat16 bit by bit: rounding, widening, and which arrays are told to be it."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from regard._bfloat16 import MARKER, carrier, is_bfloat16, narrowed, widened

EVERY = np.arange(2**16, dtype=np.uint16)


def test_every_bfloat16_widens_to_its_value():
    wide = widened(EVERY.view(MARKER))
    sign = np.where(EVERY >> 15, -1.0, 1.0)
    exponent = (EVERY >> 7 & 0xFF).astype(int)
    fraction = (EVERY & 0x7F) / 128
    value = sign * np.where(
        exponent == 0, fraction * 2.0**-126, (1 + fraction) * np.exp2(exponent - 127.0)
    )
    special = exponent == 255
    np.testing.assert_array_equal(wide[~special], value[~special])
    np.testing.assert_array_equal(np.isnan(wide), special & (fraction > 0))
    np.testing.assert_array_equal(np.isinf(wide), special & (fraction == 0))


def test_every_bfloat16_survives_there_and_back():
    back = narrowed(widened(EVERY.view(MARKER)), MARKER).view(np.uint16)
    quiet = np.where(np.isnan(widened(EVERY.view(MARKER))), EVERY | 0x40, EVERY)
    np.testing.assert_array_equal(back, quiet)


def test_rounds_to_nearest_even(rng):
    x = rng.standard_normal(100_000).astype(np.float32) * np.exp2(rng.integers(-140, 120, 100_000))
    x = x.astype(np.float32)
    ties = (EVERY[:-1].astype(np.uint32) << 16 | 0x8000).view(np.float32)
    x = np.concatenate([x, ties[np.isfinite(ties)]])
    got = widened(narrowed(x, MARKER)).astype(np.float64)
    # Neighbours by their bits, which are in the order of the magnitudes.
    below = (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    above = ((x.view(np.uint32) >> 16) + 1 << 16).astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):
        up = np.abs(above.astype(np.float64) - x) < np.abs(x - below)
    tie = (x.view(np.uint32) & 0xFFFF) == 0x8000
    up |= tie & ((x.view(np.uint32) >> 16 & 1) == 1)
    finite = np.isfinite(above)
    np.testing.assert_array_equal(got[finite], np.where(up, above, below)[finite])


def test_overflow_and_nan():
    largest = np.float32(np.finfo(np.float32).max)
    payload = np.array([0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    got = widened(narrowed([largest, -largest, np.inf, *payload], MARKER))
    np.testing.assert_array_equal(got[:3], [np.inf, -np.inf, np.inf])
    assert np.isnan(got[3:]).all()
    assert np.signbit(got[3:]).tolist() == [False, True]


@pytest.mark.parametrize("layout", [np.s_[:], np.s_[::-1], np.s_[1::2], np.s_[..., np.newaxis]])
def test_any_strides(rng, layout):
    x = rng.standard_normal((5, 6)).astype(np.float32)
    half = narrowed(x, MARKER)[layout]
    np.testing.assert_array_equal(widened(half), widened(narrowed(x[layout], MARKER)))
    assert half.shape == x[layout].shape


def test_which_arrays_are_bfloat16():
    assert is_bfloat16(MARKER)
    assert is_bfloat16(carrier())
    for other in ("f2", "f4", "u2", "V2", [("bfloat16", "<u4")], [("half", "<u2")]):
        assert not is_bfloat16(np.dtype(other))


@pytest.mark.parametrize("bits", [">u2", "<i2", "<f2"])
def test_records_of_other_bits_are_refused(bits):
    """The other byte order most of all, which would be read as other numbers."""
    key = np.ones((1, 5, 4), bits).view([("bfloat16", bits)])
    plain = np.ones((1, 5, 4), np.float32)
    with pytest.raises(TypeError, match="attention: key has "):
        regard.attention(plain, key, plain)
    with pytest.raises(TypeError, match="attention: out has "):
        regard.attention(plain, plain, plain, out=np.empty_like(key))


def test_ml_dtypes_agree(rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert regard.bfloat16 == np.dtype(ml_dtypes.bfloat16)
    assert is_bfloat16(np.dtype(ml_dtypes.bfloat16))
    assert not is_bfloat16(np.dtype(ml_dtypes.float8_e5m2))
    x = rng.standard_normal(10_000).astype(np.float32)
    np.testing.assert_array_equal(
        narrowed(x).view(np.uint16), x.astype(ml_dtypes.bfloat16).view(np.uint16)
    )
    np.testing.assert_array_equal(widened(narrowed(x)), narrowed(x).astype(np.float32))
