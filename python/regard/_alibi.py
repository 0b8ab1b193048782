"""Slopes of ALiBi, attention with linear biases."""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import NDArray


def alibi_slopes(heads: int) -> NDArray[np.float64]:
    """Slopes of ALiBi for so many heads, for ``alibi_slopes=`` of `regard.attention`.

    For n heads, n a power of two, the slopes are ``2 ** (-8 / n)`` and its powers up to n. For
    other numbers they are those of the next lower power of two, followed by every other one of
    the next higher, as in the authors' published code.

    Parameters
    ----------
    heads : int
        How many query heads there are.

    Returns
    -------
    ndarray of float64, shape (heads,)

    Raises
    ------
    ValueError
        heads is negative.
    TypeError
        heads is not a whole number.

    References
    ----------
    .. [1] Press, O., Smith, N. A. and Lewis, M., "Train Short, Test Long: Attention with Linear
       Biases Enables Input Length Extrapolation", 2022.

    Examples
    --------
    >>> import regard
    >>> regard.alibi_slopes(4)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    >>> regard.alibi_slopes(6)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625, 0.5       ,
           0.125     ])
    """
    if isinstance(heads, bool) or not isinstance(heads, (numbers.Integral, np.integer)):
        raise TypeError(f"alibi_slopes: heads is {heads!r}.\n  Give a whole number.")
    if heads < 0:
        raise ValueError(f"alibi_slopes: heads is {heads}.\n  Give 0 or more.")
    if heads == 0:
        return np.empty(0)
    lower = 1 << (int(heads).bit_length() - 1)
    slopes = 2.0 ** (-8.0 / lower * np.arange(1, lower + 1))
    between = 2.0 ** (-4.0 / lower * np.arange(1, 2 * lower, 2))
    return np.concatenate((slopes, between[: heads - lower]))
