"""Scaling of rotary frequencies, by hand and by independent formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regard.positions import (
    NTK,
    DynamicNTK,
    Linear,
    Llama3,
    YaRN,
)


def plain(base, dim):
    return [base ** (-2 * n / dim) for n in range(dim // 2)]


def test_linear_divides_positions():
    frequencies, factor = Linear(4.0).frequencies(10000.0, 64)
    np.testing.assert_allclose(frequencies * 4, plain(10000.0, 64))
    assert factor == 1


def test_ntk_slows_the_slowest_by_its_factor():
    frequencies, factor = NTK(8.0).frequencies(10000.0, 64)
    np.testing.assert_allclose(frequencies, plain(10000.0 * 8 ** (64 / 62), 64))
    assert frequencies[0] == 1
    np.testing.assert_allclose(frequencies[-1] * 8, plain(10000.0, 64)[-1])
    assert factor == 1


def test_dynamic_ntk():
    for length in (1, 100, 2048):
        frequencies, _ = DynamicNTK(2.0, 2048, length).frequencies(10000.0, 64)
        np.testing.assert_allclose(frequencies, plain(10000.0, 64))
    # 2 * 8192 / 2048 - (2 - 1) = 7
    frequencies, factor = DynamicNTK(2.0, 2048, 8192).frequencies(10000.0, 64)
    np.testing.assert_allclose(frequencies, NTK(7.0).frequencies(10000.0, 64)[0])
    assert factor == 1


def test_yarn_by_hand():
    """Base 10000, 128 features, 4096 positions, factor 16, as in the paper's Llama 2 models.

    Turns at pair n: 4096 / (2 pi 10000 ** (n / 64)). 32 turns at
    n = 64 ln(4096 / 64 pi) / ln 10000 = 20.94, down to 20; one at 45.03, up to 46.
    """
    frequencies, factor = YaRN(16.0, 4096).frequencies(10000.0, 128)
    kept = np.array(plain(10000.0, 128))
    multiplier = frequencies / kept
    np.testing.assert_allclose(multiplier[:21], 1)
    np.testing.assert_allclose(multiplier[46:], 1 / 16)
    # A ramp of 26 steps, each of 15 / 16 / 26.
    np.testing.assert_allclose(np.diff(multiplier[20:47]), -15 / 16 / 26)
    assert multiplier[33] == pytest.approx((1 + 1 / 16) / 2)
    assert factor == pytest.approx(1.2772588722239782)  # 0.1 ln 16 + 1


def test_yarn_options():
    kept = np.array(plain(10000.0, 128))
    frequencies, _ = YaRN(16.0, 4096, truncate=False).frequencies(10000.0, 128)
    low = 64 * math.log(4096 / (64 * math.pi)) / math.log(10000)
    high = 64 * math.log(4096 / (2 * math.pi)) / math.log(10000)
    share = np.clip((np.arange(64) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(frequencies / kept, 1 - share * 15 / 16)
    assert YaRN(16.0, 4096, attention_factor=1.0).frequencies(10000.0, 128)[1] == 1
    # Every pair turns more than 32 times in training.
    frequencies, _ = YaRN(4.0, 10**9).frequencies(10000.0, 8)
    np.testing.assert_allclose(frequencies, plain(10000.0, 8))


def test_yarn_with_a_ramp_beyond_the_features():
    """Base 10, 8 features, 640 positions: the ramp is from pair 2.01, down to 2, to 8.03, which is
    taken for 7, the last feature."""
    frequencies, _ = YaRN(4.0, 640).frequencies(10.0, 8)
    np.testing.assert_allclose(frequencies / plain(10.0, 8), [1, 1, 1, 1 - 0.75 / 5])


def test_yarn_with_a_step_between_pairs():
    """628 positions turn pair n 100 / 10 ** (n / 8) times: 50 times at n = 2.4, 5 times at none."""
    scaling = YaRN(4.0, 628, beta_fast=5.0, beta_slow=5.0, truncate=False)
    frequencies, _ = scaling.frequencies(10.0, 16)
    expected = [1.0 if 100 / 10 ** (2 * n / 16) > 5 else 0.25 for n in range(8)]
    np.testing.assert_allclose(frequencies / plain(10.0, 16), expected)
    scaling = YaRN(4.0, 628, beta_fast=50.0, beta_slow=50.0, truncate=False)
    frequencies, _ = scaling.frequencies(10.0, 16)
    expected = [1.0 if 100 / 10 ** (2 * n / 16) > 50 else 0.25 for n in range(8)]
    assert expected == [1, 1, 1, 0.25, 0.25, 0.25, 0.25, 0.25]
    np.testing.assert_allclose(frequencies / plain(10.0, 16), expected)


def test_yarn_with_a_ramp_of_no_width():
    """So few positions that no pair turns once: both ends are pair 0, and it is kept."""
    frequencies, _ = YaRN(4.0, 6).frequencies(10000.0, 8)
    kept = np.array(plain(10000.0, 8))
    np.testing.assert_allclose(frequencies / kept, [1, 0.25, 0.25, 0.25])


def test_llama3_by_hand():
    """Llama 3.1: base 500000, 128 features; wavelengths below 2048 kept, above 8192 eightfold."""
    frequencies, factor = Llama3().frequencies(500000.0, 128)
    for n, kept in enumerate(plain(500000.0, 128)):
        wavelength = 2 * math.pi / kept
        if wavelength < 2048:
            expected = kept
        elif wavelength > 8192:
            expected = kept / 8
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected = (1 - smooth) * kept / 8 + smooth * kept
        assert frequencies[n] == pytest.approx(expected, rel=1e-12)
    changed = frequencies / plain(500000.0, 128)
    assert np.flatnonzero(changed < 0.999)[0] == 29  # 500000 ** (29 / 64) > 2048 / 2 pi = 325.9
    assert np.flatnonzero(np.isclose(changed, 1 / 8))[0] == 35
    assert factor == 1
