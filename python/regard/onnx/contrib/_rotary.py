"""RotaryEmbedding of the domain com.microsoft."""

from __future__ import annotations

import numpy as np

from regard.onnx._compute import merged_heads
from regard.onnx._inputs import Array, by_head, check_choice, check_float, require
from regard.onnx._operator import Operator
from regard.onnx._tables import check_tables, rows_at, turned


class RotaryEmbedding(Operator):
    """The operator RotaryEmbedding of the domain com.microsoft, for the reference evaluator.

    Inputs are input, position_ids, cos_cache and sin_cache, attributes interleaved, num_heads,
    rotary_embedding_dim, scale and is_packed_batching, as documented by onnxruntime. position_ids
    are one number, the position of each first token, or (batch, length). scale is 1, since
    onnxruntime's kernel does without it, and is_packed_batching changes nothing.

    Raises
    ------
    ValueError
        From ``run``, when an input or attribute does not fit; the message names it.

    References
    ----------
    Contrib operators of onnxruntime:
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
    """

    op_domain = "com.microsoft"

    def compute(  # type: ignore[override]
        self,
        input: Array,
        position_ids: Array,
        cos_cache: Array,
        sin_cache: Array,
        *,
        interleaved: int = 0,
        is_packed_batching: int = 0,
        num_heads: int = 0,
        rotary_embedding_dim: int = 0,
        scale: float = 1.0,
    ) -> tuple[Array, ...]:
        """Compute output."""
        check_float("input", require("input", input))
        check_choice("scale", scale, (1.0,))
        check_choice("is_packed_batching", is_packed_batching, (0, 1))
        if input.ndim == 4:
            x = input
        else:  # heads are as wide as the tables say, if their number is not given
            width = 2 * cos_cache.shape[-1]
            heads = num_heads or (input.shape[-1] // width if width else 0)
            x = by_head("input", input, heads, "num_heads")
        batch, _, length, dim = x.shape
        check_tables(x, cos_cache, sin_cache, rotary_embedding_dim or dim, (None,))
        if position_ids.shape == (1,):
            position_ids = np.broadcast_to(position_ids + np.arange(length), (batch, length))
        cos, sin = rows_at(position_ids, cos_cache, sin_cache, batch, length)
        y = turned(x, cos, sin, interleaved)
        return (merged_heads(y) if input.ndim == 3 else np.ascontiguousarray(y),)
