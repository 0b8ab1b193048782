"""Attention of opsets 23 to 25."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import regard
from regard._bfloat16 import is_bfloat16
from regard.onnx._compute import attend, merged_heads, with_past
from regard.onnx._inputs import (
    Array,
    by_head,
    check_both,
    check_choice,
    check_float,
    check_range,
    check_shape,
    of_one_precision,
    require,
)
from regard.onnx._operator import Operator

if TYPE_CHECKING:
    from regard._call.types import Stage

# TensorProto's numbers of float32, float16, float64 and bfloat16.
_FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16
# By qk_matmul_output_mode.
_STAGES: tuple[Stage, ...] = ("scaled", "softcapped", "masked", "weights")


class Attention(Operator):
    """The operator Attention of ONNX, opsets 23, 24 and 25, for onnx's reference evaluator.

    Inputs are Q, K, V, attn_mask, past_key, past_value and nonpad_kv_seqlen, outputs Y,
    present_key, present_value and qk_matmul_output. All attributes are there, with the meaning
    that the onnx release 1.23 gives them in all three opsets:

    - causal masks and windows count from the first query's position, which is the length of the
      past, nonpad_kv_seqlen minus the number of queries, or 0;
    - softcap comes before attn_mask, which is padded at its end with keys that are hidden;
    - qk_matmul_output is by qk_matmul_output_mode the scaled products (0), after the softcap (1),
      with mask and bias, -inf where hidden (2), or the weights (3). Hidden keys are in 0 and 1 as
      all others;
    - scores are never less precise than float32, whatever softmax_precision asks for; DOUBLE has
      the whole operator computed in float64.

    Raises
    ------
    ValueError
        From ``run``, when an input or attribute does not fit; the message names it.

    See Also
    --------
    regard.onnx.ops : The list to give to ReferenceEvaluator.

    References
    ----------
    ONNX operator Attention: https://onnx.ai/onnx/operators/onnx__Attention.html

    Examples
    --------
    >>> import numpy as np
    >>> import onnx
    >>> import regard.onnx
    >>> from onnx.reference import ReferenceEvaluator
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 10, opset_import: ["" : 23]>
    ...     g (float[1, 2, 8, 4] X) => (float[1, 2, 8, 4] Y)
    ...     { Y = Attention <is_causal = 1> (X, X, X) }
    ... ''')
    >>> X = np.random.default_rng(0).standard_normal((1, 2, 8, 4), dtype=np.float32)
    >>> (Y,) = ReferenceEvaluator(model, new_ops=regard.onnx.ops).run(None, {"X": X})
    >>> np.array_equal(Y, regard.attention(X, X, X, causal=True))
    True
    """

    op_domain = ""

    def compute(  # type: ignore[override]
        self,
        Q: Array,
        K: Array,
        V: Array,
        attn_mask: Array | None = None,
        past_key: Array | None = None,
        past_value: Array | None = None,
        nonpad_kv_seqlen: Array | None = None,
        *,
        is_causal: int = 0,
        kv_num_heads: int | None = None,
        left_window_size: int = -1,
        q_num_heads: int | None = None,
        qk_matmul_output_mode: int = 0,
        right_window_size: int = -1,
        scale: float | None = None,
        softcap: float = 0.0,
        softmax_precision: int | None = None,
    ) -> tuple[Array, ...]:
        """Compute Y, and the other outputs if the node has them."""
        check_choice("qk_matmul_output_mode", qk_matmul_output_mode, (0, 1, 2, 3))
        precisions = (None, _FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16)
        check_choice("softmax_precision", softmax_precision, precisions)
        query, key, value = self._by_head(Q, K, V, q_num_heads, kv_num_heads)
        _check_past(query, key, value, past_key, past_value, nonpad_kv_seqlen)
        key, value = with_past(past_key, key), with_past(past_value, value)
        past = 0 if past_key is None else past_key.shape[2]
        q, k, v = of_one_precision(query, key, value, wide=softmax_precision == _DOUBLE)
        options: dict[str, Any] = {"scale": scale, "softcap": _softcap(softcap)}
        options |= _positions(
            q, k, past, nonpad_kv_seqlen, bool(is_causal), left_window_size, right_window_size
        )
        if attn_mask is not None:
            options |= _mask(attn_mask, q, k)
        out = attend(q, k, v, options).astype(Q.dtype, copy=False)
        y = merged_heads(out) if Q.ndim == 3 else out
        outputs = [np.ascontiguousarray(x) for x in (y, key, value)]
        if not self.wants(3):
            return tuple(outputs)
        if qk_matmul_output_mode < 2:
            options.pop("key_lengths", None)  # of padding there are products too
        scores = regard.attention_weights(q, k, stage=_STAGES[qk_matmul_output_mode], **options)
        with np.errstate(over="ignore"):
            return *outputs, scores.astype(Q.dtype, copy=False)

    def _by_head(
        self, Q: Array, K: Array, V: Array, q_heads: int | None, kv_heads: int | None
    ) -> tuple[Array, Array, Array]:
        named = {"Q": require("Q", Q), "K": require("K", K), "V": require("V", V)}
        for name, x in named.items():
            check_float(name, x)
            if x.ndim not in (3, 4) or x.ndim != Q.ndim:
                raise ValueError(
                    f"attention: {name} has shape {x.shape}.\n  Give Q, K and V of three axes, "
                    "(batch, length, hidden), or of four, (batch, heads, length, dim)."
                )
        check_float("K", K, "Q", Q.dtype)
        if Q.ndim == 3:
            query = by_head("Q", Q, q_heads, "q_num_heads")
            key, value = (
                by_head(name, named[name], kv_heads, "kv_num_heads") for name in ("K", "V")
            )
        else:
            given = {"q_num_heads": (q_heads, Q), "kv_num_heads": (kv_heads, K)}
            for name, (heads, x) in given.items():
                # Refused by opset 25 alone; before, it could be said twice.
                wrong = heads is not None and ((self.opset or 0) >= 25 or heads != x.shape[1])
                if wrong:
                    raise ValueError(
                        f"attention: {name} is {heads}, and Q, K and V have four axes.\n  Leave it "
                        "out: the second axis is the heads."
                    )
            query, key, value = Q, K, V
        batch, heads = query.shape[0], key.shape[1]
        dim = query.shape[3]
        check_shape("K by head", key, *_axes(batch, heads, None, dim))
        check_shape("V by head", value, *_axes(batch, heads, key.shape[2], None))
        if heads == 0 or query.shape[1] % heads:
            raise ValueError(
                f"attention: Q has {query.shape[1]} heads, K has {heads}.\n  Those of Q must be a "
                "multiple."
            )
        return query, key, value


def _axes(
    batch: int, heads: int, length: int | None, dim: int | None
) -> tuple[tuple[str, int | None], ...]:
    return ("batch", batch), ("heads", heads), ("length", length), ("dim", dim)


def _check_past(
    query: Array,
    key: Array,
    value: Array,
    past_key: Array | None,
    past_value: Array | None,
    lengths: Array | None,
) -> None:
    check_both("past_key", past_key, "past_value", past_value)
    if past_key is not None and past_value is not None:
        batch, heads = key.shape[:2]
        for name, past, new in (("past_key", past_key, key), ("past_value", past_value, value)):
            check_float(name, past, "K" if new is key else "V", new.dtype)
            check_shape(name, past, *_axes(batch, heads, past_key.shape[2], new.shape[3]))
        if lengths is not None:
            raise ValueError(
                "attention: nonpad_kv_seqlen with past_key.\n  It is for caches that are given "
                "whole, as K and V: leave past_key and past_value out."
            )
    if lengths is not None:
        check_shape("nonpad_kv_seqlen", lengths, ("batch", len(query)))
        check_range("nonpad_kv_seqlen", lengths, 0, key.shape[2])


def _softcap(softcap: float) -> float:
    if not softcap >= 0:
        raise ValueError(
            f"attention: softcap is {softcap}.\n  Give a positive number, or 0 for none."
        )
    return softcap


def _positions(
    query: Array,
    key: Array,
    past: int,
    lengths: Array | None,
    causal: bool,
    left: int,
    right: int,
) -> dict[str, Any]:
    """Options that say which keys a query sees by its place."""
    for name, side in (("left_window_size", left), ("right_window_size", right)):
        if side < -1:
            raise ValueError(
                f"attention: {name} is {side}.\n  Give a number of keys, or -1 for no limit."
            )
    options: dict[str, Any] = {"causal": causal, "query_offset": past}
    if lengths is not None:
        options["key_lengths"] = lengths.astype(np.int64)
        options["query_offset"] = options["key_lengths"] - query.shape[2]
    if max(left, right) >= 0:
        options["window"] = (None if left < 0 else left, None if right < 0 else right)
    return options


def _mask(mask: Array, query: Array, key: Array) -> dict[str, Any]:
    """Mask or bias, padded to all keys."""
    scores = (*query.shape[:3], key.shape[2])
    missing = scores[-1] - mask.shape[-1] if mask.ndim else 0
    if missing > 0:
        seen: Any = np.dtype(bool)
        hidden = False if mask.dtype == seen else -np.inf
        if mask.dtype.kind in "iu":
            mask = mask.astype(np.float64)
        padding = np.full((*mask.shape[:-1], missing), hidden, mask.dtype)
        mask = np.concatenate((mask, padding), axis=-1)
    try:
        np.broadcast_to(mask, scores)
    except ValueError:
        raise ValueError(
            f"attention: attn_mask has shape {mask.shape}.\n  Give one that broadcasts to (batch, "
            f"heads, queries, keys) = {scores}; fewer keys are filled up with hidden ones."
        ) from None
    if mask.dtype == np.bool_:
        return {"mask": mask}
    if query.dtype == np.float64:
        return {"bias": mask.astype(np.float64, copy=False)}
    # Other types than the query's are numbers to be added as well.
    small = mask.dtype.itemsize < 8 and (mask.dtype.kind == "f" or is_bfloat16(mask.dtype))
    return {"bias": mask if small else mask.astype(np.float32)}
