"""Arrays of every storage type: rounding into them, and what they hold."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard
from regard import reference
from regard._bfloat16 import MARKER, carrier, is_bfloat16, narrowed

# Queries and outputs may be of these; keys and values also int8.
FLOATS = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": MARKER,
    "ml_dtypes": carrier(),  # the same as above where that package is missing
}
HALVES = ("float16", "bfloat16")

# Distance of 1 to the next number: the unit that an output's errors are stated in.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def name_of(dtype: Any) -> str:
    """Name of the storage type, the same for both kinds of bfloat16."""
    return "bfloat16" if is_bfloat16(np.dtype(dtype)) else np.dtype(dtype).name


def eps_of(dtype: Any) -> float:
    return EPS[name_of(dtype)]


def rounded(x: Any, dtype: Any) -> np.ndarray:
    """To nearest even, into any floating-point type."""
    dtype = np.dtype(dtype)
    with np.errstate(over="ignore"):
        return narrowed(x, dtype) if is_bfloat16(dtype) else np.asarray(x).astype(dtype)


def filled(shape: tuple[int, ...], x: float, dtype: Any) -> np.ndarray:
    return np.full(shape, rounded(x, dtype)[()])


def values(x: Any) -> np.ndarray:
    """The numbers that an array holds, as float64."""
    return reference.stored(x)


def stored(x: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """An array of one of `FLOATS`, or of "int8", and its scales if it has any."""
    return regard.quantize_kv(x) if name == "int8" else (rounded(x, FLOATS[name]), None)


def bits(x: np.ndarray) -> np.ndarray:
    return x.view(f"u{x.dtype.itemsize}")
