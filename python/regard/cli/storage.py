"""Storage types for ``regard check``: a drawn float32 problem in other types, or in pages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard._bfloat16 import is_bfloat16, narrowed

Array = NDArray[Any]

# Distance of 1 to the next number.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

FLOATS = ("float32", "float16", "bfloat16")
# Query, key and value alike, and "mixed": each of its own.
KINDS = ("float32", "float32", "float64", "float64", "float16", "bfloat16", "int8", "mixed")
PAGE_SIZES = (1, 4, 16, 64)


def name_of(array: Array) -> str:
    """Return the name of an array's storage type."""
    return "bfloat16" if is_bfloat16(array.dtype) else str(array.dtype)


def types_of(rng: np.random.Generator, kind: str) -> tuple[str, str, str]:
    """Types of query, key and value of one of `KINDS`."""
    if kind == "mixed":
        query, key, value = rng.choice(FLOATS), *rng.choice((*FLOATS, "int8"), 2)
        return str(query), str(key), str(value)
    if kind == "int8":
        return str(rng.choice(FLOATS)), kind, kind
    return kind, kind, kind


def into(x: Array, name: str) -> tuple[Array, Array | None]:
    """Round numbers into a storage type; the second result are the scales of int8."""
    if name == "int8":
        return regard.quantize_kv(x)
    return (narrowed(x) if name == "bfloat16" else x.astype(name)), None


def into_pages(x: Array, table: NDArray[np.int64], page_size: int) -> Array:
    """Put (batch, heads, length, dim) into pages, of which two are nobody's; NaN elsewhere."""
    batch, heads, length, dim = x.shape
    pages = np.full((table.size + 2, page_size, heads, dim), np.nan, x.dtype)
    blocks = x.reshape(batch, heads, length // page_size, page_size, dim)
    pages[table] = blocks.transpose(0, 2, 3, 1, 4)
    return pages
