"""Storage types of the benchmark: their sizes and precision, and arrays rounded into them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

import regard
from regard._bfloat16 import narrowed

Array = NDArray[Any]

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
# Distance of 1 to the next number: the unit that errors of 16 bits are stated in.
UNIT = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
SHORT = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "int8"}
# What a cache of each type is compared with: one of the next larger type.
LARGER = {"bfloat16": "float32", "float16": "float32", "int8": "bfloat16"}


def computed_in(dtype: str) -> str:
    """Return the type whose arithmetic a case uses."""
    return "float64" if dtype == "float64" else "float32"


def held_to(dtype: str, isa: str) -> str:
    """Return the type whose arithmetic is the ceiling of a case on an ISA."""
    if dtype == "bfloat16" and isa == "avx512_bf16":  # multiplies it without widening
        return dtype
    return computed_in(dtype)


def store(x: Array, dtype: str) -> tuple[Array, Array | None]:
    """Round an array into a type; the second result are the scales of int8."""
    if dtype == "int8":
        return regard.quantize_kv(x)
    return (narrowed(x) if dtype == "bfloat16" else x.astype(dtype, copy=False)), None
