"""MultiHeadAttention of the domain com.microsoft."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard
from regard.onnx._compute import attend, merged_heads
from regard.onnx._inputs import Array, by_head, check_both, check_float, check_shape, require
from regard.onnx._operator import Operator
from regard.onnx.contrib._masks import added, check_bias, filtered
from regard.onnx.contrib._past import Past


class MultiHeadAttention(Operator):
    """The operator MultiHeadAttention of the domain com.microsoft, for the reference evaluator.

    Inputs are query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value and
    past_sequence_length, outputs are output, present_key, present_value and qk, attributes
    num_heads, mask_filter_value, scale and unidirectional, as documented by onnxruntime. Also the
    packed forms of query (batch, length, heads, 3, dim) and key (batch, length, heads, 2, dim),
    which onnxruntime has on GPUs only. qk is the scores that the softmax is given.

    There is no cache_indirection: beams are not followed.

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
        key: Array | None = None,
        value: Array | None = None,
        bias: Array | None = None,
        key_padding_mask: Array | None = None,
        attention_bias: Array | None = None,
        past_key: Array | None = None,
        past_value: Array | None = None,
        past_sequence_length: Array | None = None,
        cache_indirection: Array | None = None,
        *,
        num_heads: int,
        mask_filter_value: float = -10000.0,
        scale: float = 0.0,
        unidirectional: int = 0,
    ) -> tuple[Array, ...]:
        """Compute output, and the other outputs if the node has them."""
        if cache_indirection is not None:
            raise ValueError(
                "attention: cache_indirection is given.\n  Beams are not followed: leave it out."
            )
        q, k, v = _unpacked(require("query", query), key, value, num_heads)
        q, k, v = _with_bias(q, k, v, bias, cross=key is not None and key.ndim == 4)
        check_both("past_key", past_key, "past_value", past_value)
        if past_key is not None and key is not None and key.ndim == 4:
            raise ValueError("attention: past_key, and key has four axes.\n  Leave past_key out.")
        past = Past(past_key, past_value, past_sequence_length, k, v)
        k, v = past.keys, past.values
        batch, queries, keys = q.shape[0], q.shape[2], k.shape[2]
        check_bias(attention_bias, q, keys)
        mask = filtered(
            "key_padding_mask", key_padding_mask, (batch, queries, keys, past.length),
            mask_filter_value,
        )  # fmt: skip
        options: dict[str, Any] = {
            "scale": scale or None,
            "bias": added(mask, attention_bias),
            "causal": bool(unidirectional),
            "query_offset": past.length,
        }
        outputs = [merged_heads(attend(q, k, v, options)), *past.present()]
        if self.wants(3):
            scores = regard.attention_weights(q, k, stage="masked", **options)
            outputs.append(scores.astype(query.dtype, copy=False))
        return tuple(outputs)


def _unpacked(
    query: Array, key: Array | None, value: Array | None, heads: int
) -> tuple[Array, Array, Array]:
    """See queries, keys and values as (batch, heads, length, dim), whatever form they have."""
    check_float("query", query)
    if query.ndim == 5:
        axes = (("batch", None), ("length", None), ("heads", heads), ("3", 3), ("dim", None))
        check_shape("query", query, *axes)
        if key is not None or value is not None:
            raise ValueError(
                "attention: key or value is given, and query holds all three.\n  Leave them out."
            )
        q, k, v = (query[:, :, :, n].swapaxes(1, 2) for n in range(3))
        return q, k, v
    if key is None:
        raise ValueError(
            f"attention: key is not given, and query has shape {query.shape}.\n  Give key and "
            "value, or a packed query (batch, length, heads, 3, dim)."
        )
    q = by_head("query", query, heads, "num_heads")
    check_float("key", key, "query", query.dtype)
    batch, dim = q.shape[0], q.shape[3]
    if key.ndim == 5:
        axes = (("batch", batch), ("length", None), ("heads", heads), ("2", 2), ("dim", dim))
        check_shape("key", key, *axes)
        if value is not None:
            raise ValueError("attention: value is given, and key holds both.\n  Leave it out.")
        return q, key[:, :, :, 0].swapaxes(1, 2), key[:, :, :, 1].swapaxes(1, 2)
    value = require("value", value)
    check_float("value", value, "query", query.dtype)
    if key.ndim == 4:
        k, v = key, value
    else:
        k = by_head("key", key, heads, "num_heads")
        v = by_head("value", value, heads, "num_heads")
    front = (("batch", batch), ("heads", heads))
    check_shape("key by head", k, *front, ("length", None), ("dim", dim))
    check_shape("value by head", v, *front, ("length", k.shape[2]), ("dim", None))
    return q, k, v


def _with_bias(
    q: Array, k: Array, v: Array, bias: Array | None, cross: bool
) -> tuple[Array, Array, Array]:
    """Add the bias of the projections; keys and values of a `cross` attention have theirs."""
    if bias is None:
        return q, k, v
    check_float("bias", bias, "query", q.dtype)
    sizes = [x.shape[1] * x.shape[3] for x in (q, k, v)]
    check_shape("bias", bias, ("hidden + hidden + v_hidden", sum(sizes)))
    parts = np.split(bias, np.cumsum(sizes)[:-1])
    q, k2, v2 = (
        x + part.reshape(x.shape[1], 1, x.shape[3])
        for x, part in zip((q, k, v), parts, strict=True)
    )
    return (q, k, v) if cross else (q, k2, v2)
