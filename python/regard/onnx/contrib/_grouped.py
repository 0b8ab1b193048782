"""GroupQueryAttention of the domain com.microsoft."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard
from regard.onnx._compute import attend, merged_heads
from regard.onnx._inputs import (
    Array,
    by_head,
    check_both,
    check_choice,
    check_float,
    check_shape,
    require,
)
from regard.onnx._operator import Operator
from regard.onnx._tables import check_tables, rows_at, turned
from regard.onnx.contrib._buffer import Buffer
from regard.onnx.contrib._masks import check_bias


class GroupQueryAttention(Operator):
    """The operator GroupQueryAttention of the domain com.microsoft, for the reference evaluator.

    Inputs are query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache,
    sin_cache, position_ids, attention_bias and head_sink, outputs are output, present_key,
    present_value and output_qk, attributes num_heads, kv_num_heads, causal, do_rotary,
    local_window_size, qk_output, rotary_interleaved, scale, smooth_softmax and softcap, as
    documented by onnxruntime. query alone may hold keys and values too.

    seqlens_k is the number of keys of each batch element minus one, new ones included. New keys
    are written behind the earlier ones of their element; a batch is a first prompt if there are as
    many queries as total_sequence_length. Rows of the present after an element's keys are 0, and
    output rows of a prompt behind the element's tokens are of no meaning. output_qk is 0 where a
    key is hidden, before the softmax too.

    Caches of 8 or 4 bits, windows as caches (sliding_window_cache) and norms of queries and keys
    (q_norm_weight, k_norm_weight) are refused.

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
        query: Array,
        key: Array | None,
        value: Array | None,
        past_key: Array | None,
        past_value: Array | None,
        seqlens_k: Array,
        total_sequence_length: Array,
        cos_cache: Array | None = None,
        sin_cache: Array | None = None,
        position_ids: Array | None = None,
        attention_bias: Array | None = None,
        head_sink: Array | None = None,
        k_scale: Array | None = None,
        v_scale: Array | None = None,
        q_norm_weight: Array | None = None,
        k_norm_weight: Array | None = None,
        *,
        num_heads: int,
        kv_num_heads: int,
        causal: int = 1,
        do_rotary: int = 0,
        k_quant_type: str = "NONE",
        kv_cache_bit_width: int = 0,
        local_window_size: int = -1,
        qk_norm_epsilon: float = 1e-6,
        qk_output: int = 0,
        rotary_interleaved: int = 0,
        scale: float = 0.0,
        sliding_window_cache: int = 0,
        smooth_softmax: int = -1,
        softcap: float = 0.0,
        v_quant_type: str = "NONE",
    ) -> tuple[Array, ...]:
        """Compute output, and the other outputs if the node has them."""
        refused = {
            "k_scale": k_scale, "v_scale": v_scale, "q_norm_weight": q_norm_weight,
            "k_norm_weight": k_norm_weight, "k_quant_type": k_quant_type != "NONE" or None,
            "v_quant_type": v_quant_type != "NONE" or None,
            "kv_cache_bit_width": kv_cache_bit_width or None,
            "sliding_window_cache": sliding_window_cache or None,
        }  # fmt: skip
        for name, given in refused.items():
            if given is not None:
                raise ValueError(
                    f"attention: {name} is given.\n  Caches are of floats and of full length, and "
                    "queries and keys normed before, if at all: leave it out."
                )
        check_choice("causal", causal, (0, 1))
        check_choice("qk_output", qk_output, (0, 1, 2))
        q, k, v = _by_head(query, key, value, num_heads, kv_num_heads)
        check_both("past_key", past_key, "past_value", past_value)
        buffer = Buffer(k, v, past_key, past_value, seqlens_k, total_sequence_length)
        if do_rotary:
            positions = buffer.positions(q.shape[2], position_ids)
            q, k = _turned(q, k, positions, cos_cache, sin_cache, rotary_interleaved)
        present = buffer.write(k), buffer.write_values(v)
        keys, values = (x[:, :, : buffer.total] for x in present)
        check_bias(attention_bias, q, buffer.total)
        options: dict[str, Any] = {
            "scale": scale or None,
            "softcap": softcap,
            "causal": bool(causal),
            "query_offset": buffer.past,
            "key_lengths": buffer.lengths,
            "window": _window(local_window_size, bool(causal)),
            "bias": attention_bias,
            "sinks": _sinks(head_sink, smooth_softmax, num_heads),
        }
        outputs = [merged_heads(attend(q, keys, values, options)), *present]
        if self.wants(3):
            if qk_output == 0:
                raise ValueError("attention: qk_output is 0, and there is an output output_qk.")
            stage: Any = "masked" if qk_output == 1 else "weights"
            scores = regard.attention_weights(q, keys, stage=stage, **options)
            scores[np.isneginf(scores)] = 0
            outputs.append(scores.astype(query.dtype, copy=False))
        return tuple(outputs)


def _by_head(
    query: Array, key: Array | None, value: Array | None, heads: int, kv_heads: int
) -> tuple[Array, Array, Array]:
    """See queries, keys and values as (batch, heads, length, dim), packed or not."""
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise ValueError(
            f"attention: num_heads is {heads}, kv_num_heads is {kv_heads}.\n  num_heads must be a "
            "multiple."
        )
    check_float("query", require("query", query))
    check_both("key", key, "value", value)
    if key is None or value is None:
        every = by_head("query", query, heads + 2 * kv_heads, "num_heads + 2 kv_num_heads")
        q, k, v = np.split(every, [heads, heads + kv_heads], axis=1)
        return q, k, v
    q = by_head("query", query, heads, "num_heads")
    named = {"key": key, "value": value}
    for name, x in named.items():
        check_float(name, x, "query", query.dtype)
    k, v = (by_head(name, x, kv_heads, "kv_num_heads") for name, x in named.items())
    for name, x in (("key", k), ("value", v)):
        check_shape(
            f"{name} by head", x, ("batch", q.shape[0]), ("heads", kv_heads),
            ("length", q.shape[2]), ("dim", q.shape[3]),
        )  # fmt: skip
    return q, k, v


def _turned(
    q: Array, k: Array, positions: Array, cos: Array | None, sin: Array | None, interleaved: int
) -> tuple[Array, Array]:
    if cos is None or sin is None:
        raise ValueError("attention: do_rotary without cos_cache and sin_cache.\n  Give both.")
    check_tables(q, cos, sin, 2 * cos.shape[-1], (None,))
    c, s = rows_at(positions, cos, sin, q.shape[0], q.shape[2])
    return turned(q, c, s, interleaved), turned(k, c, s, interleaved)


def _window(size: int, causal: bool) -> tuple[int | None, int | None] | None:
    """Of so many keys, the query's own among them."""
    if size == -1:
        return None
    if size < 1 or not causal:
        raise ValueError(
            f"attention: local_window_size is {size}, causal is {int(causal)}.\n  Give a number of "
            "keys, the query's own among them, in causal attention; or -1 for no limit."
        )
    return size - 1, None


def _sinks(head_sink: Array | None, smooth: int, heads: int) -> Array | None:
    """One more logit in the softmax's sum: of each head, or 0."""
    if head_sink is not None:
        check_float("head_sink", head_sink)
        check_shape("head_sink", head_sink, ("heads", heads))
        return head_sink.astype(np.float64)
    return np.zeros(heads) if smooth == 1 else None
