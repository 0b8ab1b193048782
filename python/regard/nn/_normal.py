"""The normal distribution's tail and density, for the exact GELU: NumPy has no erf.

    Q(a) = 1 - Phi(a) = exp(-a² / 2) t P(t),    t = 1 / (1 + c a),    a >= 0

P is smooth where t goes from 1 (a = 0) to near 0, so that a polynomial through Chebyshev points
is as good as rounding. Its values there come from the standard library's erfc.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@lru_cache(maxsize=2)
def _coefficients(dtype: np.dtype[Any]) -> tuple[float, Any]:
    """Return c and P, whose degree and c leave an error of an ulp or two of 1 (tried out)."""
    single = dtype == np.float32
    c, degree = (0.4, 7) if single else (0.3, 24)
    furthest = 14.0 if single else 37.5  # where Q is below the smallest number

    def p(t: Array) -> Array:
        a = (1 / t - 1) / c
        return np.array([0.5 * math.erfc(x / math.sqrt(2)) * math.exp(x * x / 2) for x in a]) / t

    fit = Chebyshev.interpolate(p, degree, domain=[1 / (1 + c * furthest), 1])
    if single:  # powers are quicker, and good enough for so few
        return c, fit.convert(kind=Polynomial).coef.astype(dtype)
    return c, fit


def tail(x: Array) -> tuple[Array, Array]:
    """Q(|x|), within two ulps of 1, and exp(-x² / 2)."""
    c, p = _coefficients(x.dtype)
    t = np.abs(x)
    t *= x.dtype.type(c)
    t += 1
    np.reciprocal(t, out=t)
    density = x * x
    density *= x.dtype.type(-0.5)
    np.exp(density, out=density)
    if isinstance(p, Chebyshev):
        polynomial = p(t)
    else:
        polynomial = np.full_like(t, p[-1])
        for coefficient in p[-2::-1]:
            polynomial *= t
            polynomial += coefficient
    polynomial *= t
    polynomial *= density
    return polynomial, density
