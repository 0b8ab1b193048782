"""Keras 3: ops.dot_product_attention, layers.Attention and layers.MultiHeadAttention."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from others import jax
from others.softmax import attend, scores_of, steps


def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
    attn_logits_soft_cap=None,
):
    """keras.ops.dot_product_attention; the backends raise for a soft cap, but on TPUs."""
    assert attn_logits_soft_cap is None
    return jax.dot_product_attention(
        query, key, value, bias, mask, scale=scale, is_causal=is_causal
    )


class Attention:
    """keras.layers.Attention with score_mode "dot": no heads, no scale but a learned one."""

    def __init__(self, scale=None):
        self.scale = 1 if scale is None else scale

    def __call__(self, inputs, mask=None, use_causal_mask=False, return_attention_scores=False):
        query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
        scores = scores_of(query, key, self.scale)
        query_mask, value_mask = (None, None) if mask is None else mask
        seen = np.ones(scores.shape, bool)
        if value_mask is not None:
            seen &= value_mask[:, None]
        if use_causal_mask:
            seen &= steps(*scores.shape[-2:], 0) >= 0
        scores = np.where(seen, scores, -np.inf)
        out = attend(scores, value)[0]
        if query_mask is not None:
            out = out * query_mask[..., None]
        shares = attend(scores, np.eye(scores.shape[-1]))[0]
        return (out, shares) if return_attention_scores else out


class MultiHeadAttention:
    """keras.layers.MultiHeadAttention with its weights: kernels (D, heads, dim) and biases."""

    def __init__(self, query, key, value, output):
        self.weights = query, key, value
        self.output = output

    def __call__(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        key = value if key is None else key
        q, k, v = (
            np.einsum("bsd,dhe->bhse", np.float64(x), kernel) + bias[:, None]
            for x, (kernel, bias) in zip((query, key, value), self.weights, strict=True)
        )
        scores = scores_of(q, k)
        seen = np.ones((len(scores), 1, *scores.shape[-2:]), bool)
        if query_mask is not None:
            seen &= query_mask[:, None, :, None]
        for mask in (value_mask, key_mask):
            if mask is not None:
                seen &= mask[:, None, None]
        if attention_mask is not None:
            seen &= attention_mask[:, None]
        if use_causal_mask:
            seen &= steps(*scores.shape[-2:], 0) >= 0
        scores = np.where(seen, scores, -np.inf)
        out = np.einsum("bhse,hed->bsd", attend(scores, v)[0], self.output[0]) + self.output[1]
        shares = attend(scores, np.eye(scores.shape[-1]))[0]
        return (out, shares) if return_attention_scores else out


def definitions():
    """The names that the page uses."""
    layers = SimpleNamespace(Attention=Attention, MultiHeadAttention=MultiHeadAttention)
    ops = SimpleNamespace(dot_product_attention=dot_product_attention)
    return {"keras": SimpleNamespace(layers=layers, ops=ops)}
