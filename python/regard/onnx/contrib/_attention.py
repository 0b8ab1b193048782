"""Attention of the domain com.microsoft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from regard.onnx._compute import attend, merged_heads
from regard.onnx._inputs import Array, by_head, check_choice, check_float, check_shape, require
from regard.onnx._operator import Operator
from regard.onnx.contrib._masks import added, check_bias, filtered
from regard.onnx.contrib._past import Past
from regard.positions import rope
from regard.positions._rotation import accurate


class Attention(Operator):
    """The operator Attention of the domain com.microsoft, for the reference evaluator.

    Inputs are input, weights, bias, mask_index, past, attention_bias and past_sequence_length,
    outputs are output and present, attributes num_heads, do_rotary, mask_filter_value,
    past_present_share_buffer, qkv_hidden_sizes, rotary_embedding_dim, scale and unidirectional, as
    documented by onnxruntime. do_rotary turns halves of a head with the base 10000, and that and
    masks of four axes are what onnxruntime has on GPUs only.

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
        weights: Array,
        bias: Array | None = None,
        mask_index: Array | None = None,
        past: Array | None = None,
        attention_bias: Array | None = None,
        past_sequence_length: Array | None = None,
        *,
        num_heads: int,
        do_rotary: int = 0,
        mask_filter_value: float = -10000.0,
        past_present_share_buffer: int = 0,
        qkv_hidden_sizes: Sequence[int] = (),
        rotary_embedding_dim: int = 0,
        scale: float = 0.0,
        unidirectional: int = 0,
    ) -> tuple[Array, ...]:
        """Compute output, and present if the node has it."""
        check_choice("do_rotary", do_rotary, (0, 1))
        q, k, v = _projected(input, weights, bias, num_heads, qkv_hidden_sizes)
        if past is not None:
            axes = (("2", 2), ("batch", len(q)), ("heads", num_heads), ("length", None))
            check_shape("past", past, *axes, ("dim", q.shape[3]))
        if bool(past_present_share_buffer) != (past_sequence_length is not None):
            raise ValueError(
                f"attention: past_present_share_buffer is {past_present_share_buffer}, and "
                f"past_sequence_length is{'' if past_sequence_length is not None else ' not'} "
                "given.\n  They go together."
            )
        if (past is not None or self.wants(1)) and k.shape[3] != v.shape[3]:
            raise ValueError(
                f"attention: past or present, with heads of {k.shape[3]} and {v.shape[3]} features."
                "\n  They are one array: keys and values must be as wide."
            )
        if do_rotary:
            first = _first_position(past, past_sequence_length)
            positions = first + np.arange(q.shape[2])
            q, k = (rope(x, positions, dim=rotary_embedding_dim or None) for x in (q, k))
        past_key, past_value = (None, None) if past is None else (past[0], past[1])
        cache = Past(past_key, past_value, past_sequence_length, k, v)
        k, v = cache.keys, cache.values
        queries, keys = q.shape[2], k.shape[2]
        check_bias(attention_bias, q, keys)
        mask = filtered(
            "mask_index", mask_index, (len(q), queries, keys, cache.length), mask_filter_value,
            starts=True, square=True,
        )  # fmt: skip
        options: dict[str, Any] = {
            "scale": scale or None,
            "bias": added(mask, attention_bias),
            "causal": bool(unidirectional),
            "query_offset": cache.length,
        }
        output = merged_heads(attend(q, k, v, options))
        return (output, np.stack(cache.present())) if self.wants(1) else (output,)


def _first_position(past: Array | None, length: Array | None) -> int:
    if past is None:
        return 0
    return past.shape[3] if length is None else int(length.item())


def _projected(
    input: Array, weights: Array, bias: Array | None, heads: int, sizes: Sequence[int]
) -> list[Array]:
    """Project the input to queries, keys and values, (batch, heads, length, dim)."""
    check_float("input", require("input", input))
    check_shape("input", input, ("batch", None), ("length", None), ("input_hidden", None))
    check_float("weights", require("weights", weights), "input", input.dtype)
    check_shape("weights", weights, ("input_hidden", input.shape[2]), ("hidden", None))
    hidden = weights.shape[1]
    sizes = list(sizes) or [hidden // 3] * 3
    fits = len(sizes) == 3 and min(sizes) > 0 and sum(sizes) == hidden and sizes[0] == sizes[1]
    if not fits or any(size % heads for size in sizes):
        raise ValueError(
            f"attention: weights has shape {weights.shape}, to be shared out as {sizes}.\n  "
            f"Queries and keys must be as wide, all three multiples of num_heads={heads}; "
            "qkv_hidden_sizes says how wide."
        )
    wide = accurate(input.dtype)
    qkv = input.astype(wide) @ weights.astype(wide)
    if bias is not None:
        check_float("bias", bias, "input", input.dtype)
        check_shape("bias", bias, ("hidden", hidden))
        qkv += bias.astype(wide)
    parts = np.split(qkv.astype(input.dtype, copy=False), np.cumsum(sizes)[:-1], axis=2)
    return [by_head("weights", x, heads, "num_heads") for x in parts]
