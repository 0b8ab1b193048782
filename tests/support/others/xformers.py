"""xFormers: memory_efficient_attention and its biases, arrays (batch, length, heads, dim)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from others.softmax import attend, scores_of, steps


def memory_efficient_attention(
    query, key, value, attn_bias=None, p=0.0, scale=None, *, op=None, output_dtype=None
):
    """xformers.ops.memory_efficient_attention, with 4 axes, or 3 for one head."""
    return memory_efficient_attention_forward_requires_grad(query, key, value, attn_bias, p, scale)[
        0
    ]


def memory_efficient_attention_forward_requires_grad(
    query, key, value, attn_bias=None, p=0.0, scale=None
):
    """The same, and the LSE, (batch, heads, queries)."""
    assert p == 0
    one = query.ndim == 3
    q, k, v = (x[:, None] if one else x.swapaxes(1, 2) for x in (query, key, value))
    scores = scores_of(q, k, scale)
    if attn_bias is not None:
        dense = attn_bias(*scores.shape[-2:]) if callable(attn_bias) else attn_bias
        scores = scores + dense
    out, lse = attend(scores, v)
    return (out[:, 0] if one else out.swapaxes(1, 2)), lse


def _where(seen):
    return np.where(seen, 0.0, -np.inf)


def LowerTriangularMask():
    """Query i sees the keys up to i."""
    return lambda queries, keys: _where(steps(queries, keys, 0) >= 0)


def LowerTriangularFromBottomRightMask():
    """The last query sees the last key."""
    return lambda queries, keys: _where(steps(queries, keys, keys - queries) >= 0)


def LowerTriangularFromBottomRightLocalAttentionMask(window_size):
    """And no more than window_size keys, its own among them."""

    def dense(queries, keys):
        distance = steps(queries, keys, keys - queries)
        return _where((distance >= 0) & (distance < window_size))

    return dense


def LocalAttentionFromBottomRightMask(window_left, window_right):
    """So many keys before and after its own."""

    def dense(queries, keys):
        distance = steps(queries, keys, keys - queries)
        return _where((distance <= window_left) & (distance >= -window_right))

    return dense


def _blocks(inside):
    def from_seqlens(q_seqlen, kv_seqlen=None):
        kv_seqlen = q_seqlen if kv_seqlen is None else kv_seqlen

        def dense(queries, keys):
            bias = np.full((queries, keys), -np.inf)
            i = j = 0
            for rows, columns in zip(q_seqlen, kv_seqlen, strict=True):
                bias[i : i + rows, j : j + columns] = inside(rows, columns)
                i, j = i + rows, j + columns
            return bias

        return dense

    return SimpleNamespace(from_seqlens=from_seqlens)


BlockDiagonalMask = _blocks(lambda rows, columns: np.zeros((rows, columns)))
BlockDiagonalCausalMask = _blocks(LowerTriangularMask())
BlockDiagonalCausalFromBottomRightMask = _blocks(LowerTriangularFromBottomRightMask())


class BlockDiagonalCausalWithOffsetPaddedKeysMask:
    """Keys padded to kv_padding each; the last query of a block sees its last key."""

    @staticmethod
    def from_seqlens(q_seqlen, kv_padding, kv_seqlen):
        def dense(queries, keys):
            bias = np.full((queries, keys), -np.inf)
            i = 0
            for number, (rows, columns) in enumerate(zip(q_seqlen, kv_seqlen, strict=True)):
                j = number * kv_padding
                bias[i : i + rows, j : j + columns] = LowerTriangularFromBottomRightMask()(
                    rows, columns
                )
                i += rows
            return bias

        return dense


def definitions():
    """The names that the page uses."""
    biases = {name: value for name, value in globals().items() if name[0] in "LB"}
    return {"xops": SimpleNamespace(
        memory_efficient_attention=memory_efficient_attention,
        memory_efficient_attention_forward_requires_grad=(
            memory_efficient_attention_forward_requires_grad
        ),
    ), "attn_bias": SimpleNamespace(**biases)}  # fmt: skip
