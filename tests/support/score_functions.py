"""A function of scores and its gradient, of NumPy arrays and with an address."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


def modified(s, b, h, i, j):
    """It depends on all that a function is told, and is never steeper than 1."""
    return np.tanh(s) / (1 + h) + 0.01 * (j - i) + 0.1 * b


def pulled_back(d, s, b, h, i, j):
    return d * (1 - np.tanh(s) ** 2) / (1 + h)


NUMPY: dict[str, Any] = {"score_mod": modified, "score_mod_gradient": pulled_back}


def function_type(dtype: Any, arrays: int) -> Any:
    """The type of a function with an address, which has so many arrays of numbers."""
    number = ctypes.c_float if np.dtype(dtype) == np.float32 else ctypes.c_double
    rows = [ctypes.POINTER(number)] * arrays
    return ctypes.CFUNCTYPE(None, *rows, *[ctypes.c_int64] * 5, ctypes.c_void_p)


def with_addresses(dtype: Any, calls: list[tuple[int, ...]] | None = None) -> dict[str, Any]:
    """The same two functions for rows of keys; `calls` gets the arguments that are numbers."""

    def rows(scores, count, query, first, head, batch, user):
        s = np.ctypeslib.as_array(scores, (count,))
        s[...] = modified(s, batch, head, query, np.arange(first, first + count))
        if calls is not None:
            calls.append((count, query, first, head, batch))

    def gradient(dscores, scores, count, query, first, head, batch, user):
        d, s = (np.ctypeslib.as_array(x, (count,)) for x in (dscores, scores))
        d[...] = pulled_back(d, s, batch, head, query, np.arange(first, first + count))

    return {
        "score_mod": function_type(dtype, 1)(rows),
        "score_mod_gradient": function_type(dtype, 2)(gradient),
    }
