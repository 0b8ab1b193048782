"""Rotary embeddings by tables of cosines and sines, as operators are given them."""

from __future__ import annotations

import numpy as np

from regard.onnx._inputs import Array, check_choice, check_float, check_range, check_shape
from regard.positions._rotation import accurate, paired, turn_pairs


def check_tables(
    x: Array, cos: Array, sin: Array, dim: int, leading: tuple[int | None, ...]
) -> None:
    """Refuse tables that are not (*leading, dim / 2), or a dim that x (..., D) does not have."""
    if dim < 2 or dim % 2 or dim > x.shape[-1]:
        raise ValueError(
            f"attention: rotary_embedding_dim is {dim}, of heads with {x.shape[-1]} features.\n"
            "  Give an even number of them."
        )
    names = ("rows",) if len(leading) == 1 else ("batch", "length")
    for name, table in (("cos_cache", cos), ("sin_cache", sin)):
        check_float(name, table)
        check_shape(name, table, *zip(names, leading, strict=True), ("dim / 2", dim // 2))
    if cos.shape != sin.shape:
        raise ValueError(
            f"attention: cos_cache has shape {cos.shape}, sin_cache {sin.shape}.\n  They must have "
            "one."
        )


def rows_at(
    positions: Array, cos: Array, sin: Array, batch: int, length: int
) -> tuple[Array, Array]:
    """Pick the rows of positions (batch, length) from both tables: (batch, length, dim / 2)."""
    check_shape("position_ids", positions, ("batch", batch), ("length", length))
    check_range("position_ids", positions, 0, len(cos) - 1)
    return cos[positions], sin[positions]


def turned(x: Array, cos: Array, sin: Array, interleaved: int) -> Array:
    """Turn x (batch, heads, length, D) by cosines and sines (batch, length, dim / 2)."""
    check_choice("interleaved", interleaved, (0, 1))
    dtype = accurate(x.dtype)
    c, s = (table.astype(dtype)[:, np.newaxis] for table in (cos, sin))
    return turn_pairs(x, *paired(c, s, bool(interleaved)), bool(interleaved))
