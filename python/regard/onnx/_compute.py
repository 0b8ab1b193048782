"""The call of `regard.attention` that is in each of the operators."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard
from regard.onnx._inputs import Array


def attend(query: Array, key: Array, value: Array, options: dict[str, Any]) -> Array:
    """Compute attention of (batch, heads, length, dim), laid out as (batch, length, heads, dim)."""
    batch, heads, queries, _ = query.shape
    out: Array = np.empty((batch, queries, heads, value.shape[-1]), query.dtype).swapaxes(1, 2)
    regard.attention(query, key, value, out=out, **options)
    return out


def merged_heads(out: Array) -> Array:
    """See (batch, heads, length, dim) as (batch, length, heads * dim)."""
    batch, heads, length, dim = out.shape
    merged: Array = out.swapaxes(1, 2).reshape(batch, length, heads * dim)
    return merged


def with_past(past: Array | None, new: Array) -> Array:
    """Put new keys or values behind those of the past, (batch, heads, length, dim)."""
    return new if past is None else np.concatenate((past, new), axis=2)
