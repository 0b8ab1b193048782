"""Positions: encodings, rotations, their scaling, and ALiBi's slopes, by independent formulas."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

import regard
from regard._bfloat16 import MARKER, narrowed, widened
from regard.positions import (
    NTK,
    DynamicNTK,
    Linear,
    Llama3,
    Rope,
    YaRN,
    _rotation,
    rope,
    sinusoidal,
)


@pytest.mark.parametrize("dim", [0, 1, 2, 7, 16])
@pytest.mark.parametrize("base", [10000.0, 50.0])
def test_sinusoidal(dim, base):
    encoding = sinusoidal(20, dim, base)
    assert encoding.shape == (20, dim)
    assert encoding.dtype == np.float64
    for p, feature in np.ndindex(20, dim):
        angle = p / base ** (2 * (feature // 2) / dim)
        expected = math.cos(angle) if feature % 2 else math.sin(angle)
        assert encoding[p, feature] == pytest.approx(expected, abs=1e-12)


def rotated(x, positions, frequencies, interleaved, factor=1.0):
    """Each pair of features as a complex number, turned one by one."""
    half = len(frequencies)
    out = np.array(x, dtype=np.float64)
    for at in np.ndindex(x.shape[:-1]):
        for n, frequency in enumerate(frequencies):
            a, b = (2 * n, 2 * n + 1) if interleaved else (n, n + half)
            turn = factor * cmath.exp(1j * float(positions[at]) * frequency)
            z = complex(x[(*at, a)], x[(*at, b)]) * turn
            out[(*at, a)], out[(*at, b)] = z.real, z.imag
    return out


ROUNDING = {np.float16: 4e-3, np.float32: 1e-6, np.float64: 1e-12}


@pytest.mark.parametrize("dim", [None, 2, 6])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("kind", ROUNDING)
def test_rope_is_a_complex_rotation(rng, kind, interleaved, dim):
    x = rng.standard_normal((2, 3, 5, 8)).astype(kind)
    before = x.copy()
    out = rope(x, base=100.0, interleaved=interleaved, dim=dim)
    assert out.dtype == kind
    np.testing.assert_array_equal(x, before)
    d = dim or 8
    frequencies = [100.0 ** (-2 * n / d) for n in range(d // 2)]
    positions = np.broadcast_to(np.arange(5), (2, 3, 5))
    expected = rotated(x, positions, frequencies, interleaved)
    np.testing.assert_allclose(out, expected, rtol=ROUNDING[kind], atol=ROUNDING[kind])
    np.testing.assert_array_equal(out[..., d:], x[..., d:])


def test_rope_as_published():
    """Two turns worked out by hand: pairs of halves (1, 3), (2, 4) and of neighbours."""
    x = np.array([[1.0, 2, 3, 4]])
    c1, s1, c2, s2 = math.cos(2), math.sin(2), math.cos(0.02), math.sin(0.02)
    halves = [c1 - 3 * s1, 2 * c2 - 4 * s2, s1 + 3 * c1, 2 * s2 + 4 * c2]
    neighbours = [c1 - 2 * s1, s1 + 2 * c1, 3 * c2 - 4 * s2, 3 * s2 + 4 * c2]
    np.testing.assert_allclose(rope(x, [2]), [halves])
    np.testing.assert_allclose(rope(x, [2], interleaved=True), [neighbours])


def test_rope_positions(rng):
    x = rng.standard_normal((2, 3, 5, 4))
    np.testing.assert_array_equal(rope(x), rope(x, np.arange(5)))
    np.testing.assert_array_equal(rope(x, 0), x)
    frequencies = [1.0, 0.01]
    for shape in ((), (1,), (5,), (3, 1), (3, 5), (2, 1, 1), (2, 1, 5), (2, 3, 5)):
        positions = rng.uniform(-10, 10, shape)
        whole = np.broadcast_to(positions, (2, 3, 5))
        expected = rotated(x, whole, frequencies, False)
        np.testing.assert_allclose(rope(x, positions), expected, rtol=1e-12)
    np.testing.assert_allclose(rope(rope(x, 7), -7), x, rtol=1e-12)


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_depend_on_distances_only(rng, interleaved):
    query, key = rng.standard_normal((2, 1, 16))
    products = [
        (rope(query, [p + 100], interleaved=interleaved)
         @ rope(key, [p], interleaved=interleaved).T).item()
        for p in (0, 5, 1000)
    ]  # fmt: skip
    np.testing.assert_allclose(products, products[0], rtol=1e-10)


def test_angles_far_out_are_exact(rng):
    """float32 would lose a tenth of a radian at a million."""
    x = rng.standard_normal((1, 8)).astype(np.float32)
    frequencies = [10000.0 ** (-n / 4) for n in range(4)]
    expected = rotated(x, np.array([1_000_003]), frequencies, False)
    np.testing.assert_allclose(rope(x, [1_000_003]), expected, rtol=1e-5, atol=1e-6)


def test_scaling_reaches_the_features(rng):
    x = rng.standard_normal((6, 12))
    for interleaved in (False, True):
        for scaling in (Linear(3.0), YaRN(8.0, 64), YaRN(8.0, 64, attention_factor=0.5)):
            frequencies, factor = scaling.frequencies(500.0, 8)
            out = rope(x, base=500.0, dim=8, interleaved=interleaved, scaling=scaling)
            expected = rotated(x, np.arange(6), frequencies, interleaved, factor)
            np.testing.assert_allclose(out[:, :8], expected[:, :8], rtol=1e-12)
            np.testing.assert_array_equal(out[:, 8:], x[:, 8:])


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_kept_cosines_are_those_of_the_call(rng, dtype, interleaved):
    """To the bit: one after the other, many at once, far out, and before the first."""
    parameters = {"base": 300.0, "interleaved": interleaved, "dim": 6, "scaling": Linear(1.5)}
    rotation = Rope(**parameters).rotation(8)
    last = _rotation._KEPT
    x = rng.standard_normal((2, 3, 8)).astype(dtype)
    for first in (0, 1, 1022, 1023, 5000, last - 3, last - 2, last, 10**6, -1, -7):
        positions = first + np.arange(3)
        expected = rope(x, positions, **parameters)
        np.testing.assert_array_equal(rotation.turn_from(x, first), expected)
        np.testing.assert_array_equal(rotation.turn(x, positions), expected)
        np.testing.assert_array_equal(Rope(**parameters)(x, positions), expected)
        mixed = np.array([[first, 0, 5], [7, first, 2]])
        np.testing.assert_array_equal(rotation.turn(x, mixed), rope(x, mixed, **parameters))
    assert all(len(cos) <= last for cos, _ in rotation._tables.values())


def test_ropes_are_equal_if_their_parameters_are():
    assert Rope() == Rope(10000.0)
    assert Rope(scaling=Linear(2.0)) == Rope(scaling=Linear(2.0))
    assert Rope().rotation(8) is Rope().rotation(8)
    assert Rope().rotation(8) == Rope(dim=8).rotation(8)
    others = [
        Rope(5.0), Rope(interleaved=True), Rope(dim=6), Rope(scaling=Linear(2.0)),
        Rope(scaling=YaRN(2.0, 10**9)),  # the same frequencies, another factor
    ]  # fmt: skip
    for other in others:
        assert Rope() != other
        assert Rope().rotation(8) != other.rotation(8)
    assert Rope().rotation(8) != "rope"


def test_rope_of_bfloat16(rng):
    x = narrowed(rng.standard_normal((3, 8)), MARKER)
    out = rope(x, [4, 5, 6])
    assert out.dtype == MARKER
    expected = narrowed(rope(widened(x), [4, 5, 6]), MARKER)
    np.testing.assert_array_equal(out.view(np.uint16), expected.view(np.uint16))


def published_slopes(heads):
    """The authors' get_slopes."""

    def power_of_two(n):
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]

    if math.log2(heads).is_integer():
        return power_of_two(heads)
    lower = 2 ** math.floor(math.log2(heads))
    return power_of_two(lower) + published_slopes(2 * lower)[0::2][: heads - lower]


@pytest.mark.parametrize("heads", [*range(1, 20), 31, 32, 33, 64, 71, 112, 128])
def test_alibi_slopes(heads):
    slopes = regard.alibi_slopes(heads)
    assert slopes.dtype == np.float64
    np.testing.assert_allclose(slopes, published_slopes(heads), rtol=1e-12)


def test_alibi_slopes_of_no_heads():
    assert regard.alibi_slopes(0).shape == (0,)


X = np.zeros((2, 3, 8))
WRONG = {
    "ints": (TypeError, lambda: rope(np.zeros((2, 2), int)), "x has dtype int64"),
    "vector": (ValueError, lambda: rope(np.zeros(4)), r"x has shape \(4,\)"),
    "odd": (ValueError, lambda: rope(np.zeros((2, 3))), "dim is 3, and x has 3 features"),
    "odd dim": (ValueError, lambda: rope(X, dim=3), "dim is 3"),
    "large dim": (ValueError, lambda: rope(X, dim=10), "dim is 10, and x has 8"),
    "no dim": (ValueError, lambda: rope(X, dim=0), "dim is 0"),
    "float dim": (TypeError, lambda: rope(X, dim=4.0), r"dim is 4\.0"),
    "object's dim": (TypeError, lambda: Rope(dim=True), "dim is True"),
    "object's base": (ValueError, lambda: Rope(0.5), r"base is 0\.5"),
    "positions": (ValueError, lambda: rope(X, np.arange(4)), r"positions of shape \(4,\)"),
    "more axes": (ValueError, lambda: rope(X, np.ones((5, 2, 3))), "do not broadcast"),
    "words": (TypeError, lambda: rope(X, ["a"]), "positions has dtype <U1"),
    "base": (ValueError, lambda: rope(X, base=1.0), r"rope: base is 1\.0"),
    "sinusoidal base": (ValueError, lambda: sinusoidal(2, 2, math.inf), "sinusoidal: base is inf"),
    "length": (ValueError, lambda: sinusoidal(-1, 2), "length is -1"),
    "linear": (ValueError, lambda: Linear(0.5), r"Linear: factor is 0\.5"),
    "one pair": (ValueError, lambda: rope(X, dim=2, scaling=NTK(2.0)), "no slower pair"),
    "beta": (ValueError, lambda: YaRN(2.0, 64, beta_fast=1.0, beta_slow=2.0), "beta_fast is"),
    "llama": (ValueError, lambda: Llama3(high_freq_factor=1.0), "high_freq_factor"),
    "original": (ValueError, lambda: DynamicNTK(2.0, 0, 5), "original_length is 0"),
    "heads": (ValueError, lambda: regard.alibi_slopes(-1), "heads is -1"),
    "float heads": (TypeError, lambda: regard.alibi_slopes(8.0), r"heads is 8\.0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors(what):
    error, make, message = WRONG[what]
    with pytest.raises(error, match=message):
        make()
