"""flash-attn 2: arrays are (batch, length, heads, head_dim), causal is the lower right."""

from __future__ import annotations

import numpy as np

from others.softmax import attend, repeated, scores_of, steps


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    *,
    keys=None,
):
    """flash_attn.flash_attn_func; `keys` says how many of the keys there are, (batch,)."""
    assert dropout_p == 0
    k, v = repeated(q, k, v, axis=-2)
    q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
    scores = scores_of(q, k, softmax_scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    keys = np.full(len(q), k.shape[-2]) if keys is None else np.asarray(keys)
    keys = keys[:, None, None, None]
    distance = steps(*scores.shape[-2:], keys - q.shape[-2])
    if alibi_slopes is not None:
        slopes = np.broadcast_to(alibi_slopes, scores.shape[:2])[..., None, None]
        scores = scores - slopes * np.abs(distance)
    left, right = window_size
    if causal:
        right = 0
    seen = np.arange(scores.shape[-1]) < keys
    if left >= 0:
        seen = seen & (distance <= left)
    if right >= 0:
        seen = seen & (distance >= -right)
    out, lse = attend(np.where(seen, scores, -np.inf), v)
    out = out.swapaxes(-2, -3)
    return (out, lse, None) if return_attn_probs else out


def flash_attn_qkvpacked_func(qkv, **options):
    """qkv is (batch, length, 3, heads, head_dim)."""
    return flash_attn_func(*np.moveaxis(qkv, -3, 0), **options)


def flash_attn_kvpacked_func(q, kv, **options):
    """kv is (batch, length, 2, heads, head_dim)."""
    return flash_attn_func(q, *np.moveaxis(kv, -3, 0), **options)


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, **options
):
    """Pieces one after the other, (total, heads, head_dim)."""
    pieces = [
        flash_attn_func(q[None, a:b], k[None, c:d], v[None, c:d], **options)[0]
        for a, b, c, d in zip(
            cu_seqlens_q, cu_seqlens_q[1:], cu_seqlens_k, cu_seqlens_k[1:], strict=False
        )
    ]
    return np.concatenate(pieces)


def flash_attn_with_kvcache(
    q,
    k_cache,
    v_cache,
    k=None,
    v=None,
    cache_seqlens=None,
    block_table=None,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    return_softmax_lse=False,
):
    """Writes k and v behind the tokens of the cache, in place, and attends to all of them."""
    lengths = np.array(cache_seqlens)
    if block_table is not None:
        assert k is None
        k_cache, v_cache = (
            np.stack([x[pages].reshape(-1, *x.shape[2:]) for pages in block_table])
            for x in (k_cache, v_cache)
        )
    if k is not None:
        for b, n in enumerate(lengths):
            k_cache[b, n : n + k.shape[1]] = k[b]
            v_cache[b, n : n + k.shape[1]] = v[b]
        lengths = lengths + k.shape[1]
    out, lse, _ = flash_attn_func(
        q, k_cache, v_cache, 0.0, softmax_scale, causal, window_size, softcap, alibi_slopes,
        return_attn_probs=True, keys=lengths,
    )  # fmt: skip
    return (out, lse) if return_softmax_lse else out


def definitions():
    """The names that the page uses."""
    return {name: value for name, value in globals().items() if name.startswith("flash_attn")}
