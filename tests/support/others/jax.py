"""JAX: jax.nn.dot_product_attention, arrays (batch, length, heads, head_dim)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from others.softmax import attend, repeated, scores_of, steps


def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    *,
    scale=None,
    is_causal=False,
    query_seq_lengths=None,
    key_value_seq_lengths=None,
    local_window_size=None,
    implementation=None,
    return_residual=False,
):
    """As documented; is_causal and the window count from the first query and the first key."""
    key, value = repeated(query, key, value, axis=-2)
    q, k, v = (x.swapaxes(-2, -3) for x in (query, key, value))
    scores = scores_of(q, k, scale)
    queries, keys = scores.shape[-2:]
    if bias is not None:
        scores = scores + bias
    distance = steps(queries, keys, 0)
    seen = np.ones((queries, keys), bool) if mask is None else mask
    if is_causal:
        seen = seen & (distance >= 0)
    if local_window_size is not None:
        left, right = np.broadcast_to(local_window_size, 2)
        seen = seen & (distance <= left) & (distance >= -right)
    if key_value_seq_lengths is not None:
        seen = seen & (np.arange(keys) < key_value_seq_lengths[:, None, None, None])
    out, lse = attend(np.where(seen, scores, -np.inf), v)
    if query_seq_lengths is not None:  # padded rows are zeros
        out = out * (np.arange(queries)[:, None] < query_seq_lengths[:, None, None, None])
    out = out.swapaxes(-2, -3)
    return (out, lse.swapaxes(-1, -2)) if return_residual else out


def definitions():
    """The names that the page uses."""
    return {"jax": SimpleNamespace(nn=SimpleNamespace(dot_product_attention=dot_product_attention))}


def itself():
    """The same names, of the library itself."""
    import jax

    def call(*args, **options):
        out = jax.nn.dot_product_attention(*args, **options)
        return tuple(map(np.asarray, out)) if isinstance(out, tuple) else np.asarray(out)

    return {"jax": SimpleNamespace(nn=SimpleNamespace(dot_product_attention=call))}
