"""From scores to weights: softmax over the keys seen, the sink, dropout; from weights to output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._scores import scores
from regard.reference._shapes import Array, lengths, offsets, per_query_head, with_heads
from regard.reference._stored import check_pages, stored
from regard.reference._visible import visible
from regard.reference.philox import factors


def attend(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    value_scales: ArrayLike | None = None,
    block_table: ArrayLike | None = None,
    **options: Any,
) -> tuple[Array, Array]:
    """Return O and LSE, with an axis for heads and one for queries whatever the inputs have."""
    v = with_heads(stored(value, value_scales, block_table))
    p, lse, sees = probabilities(query, key, batch=v.shape[:-3], block_table=block_table, **options)
    return weighted_sum(p, per_query_head(v, p.shape[-3]), sees), lse


def probabilities(
    query: ArrayLike,
    key: ArrayLike,
    *,
    elements: NDArray[np.int64] | None = None,
    sinks: ArrayLike | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
    query_lengths: ArrayLike | None = None,
    **of_scores: Any,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return P, LSE and which keys are seen, (..., Hq, Sq, Sk) or what broadcasts to it.

    `elements` are the numbers that dropout knows the batch elements by, their flat indices if not
    given. `of_scores` are the options of :func:`scores_and_seen` that are no others' as well.
    """
    s, sees = scores_and_seen(
        query, key, query_lengths=query_lengths, elements=elements, **of_scores
    )
    *batch, heads, queries, keys = s.shape
    p, lse = _softmax(s, sees, sinks)
    # A row past its element's length is no row: not even the sink is in its LSE.
    i = np.arange(queries)[:, np.newaxis]
    past = i >= lengths("query_lengths", query_lengths, batch, queries)
    np.copyto(lse, -np.inf, where=past[..., 0])
    if dropout:
        if elements is None:
            elements = np.arange(np.prod(batch, dtype=int)).reshape(batch)
        p *= factors(dropout, seed, elements, (heads, queries, keys))
    return p, lse, sees


_ADDED_OR_HIDDEN = (
    "alibi_slopes", "score_mod", "position_bias", "bias", "mask", "key_mask", "causal", "window",
)  # fmt: skip
_AFTER = {"scaled": ("softcap", *_ADDED_OR_HIDDEN), "softcapped": _ADDED_OR_HIDDEN, "masked": ()}


def staged_scores(
    query: ArrayLike,
    key: ArrayLike,
    stage: str,
    *,
    sinks: ArrayLike | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
    **options: Any,
) -> Array:
    """Return S after "scaled", "softcapped" or "masked", (..., Hq, Sq, Sk).

    It is -inf at each stage where query or key are past their length, and where anything else hides
    a key after "masked" alone.
    """
    if stage not in _AFTER:
        raise ValueError(f"stage must be 'weights' or one of {', '.join(_AFTER)}, not {stage!r}")
    s, sees = scores_and_seen(
        query, key, **{name: x for name, x in options.items() if name not in _AFTER[stage]}
    )
    return np.where(sees, s, -np.inf)


def scores_and_seen(
    query: ArrayLike,
    key: ArrayLike,
    *,
    batch: tuple[int, ...] = (),
    bias: ArrayLike | None = None,
    causal: Any = False,
    key_lengths: ArrayLike | None = None,
    query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None,
    window: Any = None,
    mask: Any = None,
    key_mask: ArrayLike | None = None,
    key_scales: ArrayLike | None = None,
    block_table: ArrayLike | None = None,
    score_mod_gradient: Any = None,
    **of_scores: Any,
) -> tuple[Array, NDArray[np.bool_]]:
    """Return S of all pairs and which keys are seen, (..., Hq, Sq, Sk) or what broadcasts to it.

    `batch` broadcasts with the batch axes of query and key. `of_scores` are the options of
    :func:`scores` that are no others' as well.
    """
    if block_table is not None:
        check_pages(block_table, key_lengths, np.shape(key)[1])
    q, k = with_heads(stored(query)), with_heads(stored(key, key_scales, block_table))
    batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3], batch)
    shape = (*batch, *q.shape[-3:-1], k.shape[-2])
    positions: dict[str, Any] = {
        "causal": causal,
        "key_lengths": key_lengths,
        "query_lengths": query_lengths,
        "query_offset": query_offset,
    }
    sees = visible(shape, window=window, mask=mask, key_mask=key_mask, bias=bias, **positions)
    s = scores(q, k, batch=batch, bias=bias, offset=offsets(shape, **positions), **of_scores)
    return s, sees


def _softmax(s: Array, sees: NDArray[np.bool_], sinks: ArrayLike | None) -> tuple[Array, Array]:
    """Softmax over the keys seen, and its log-sum-exp. Overwrites `s`: it is the largest array."""
    hidden = np.broadcast_to(~sees, s.shape)
    np.copyto(s, -np.inf, where=hidden)
    # A sink is one more score in each row, with no value. A sink of -inf is none.
    sink = np.full(s.shape[-3], -np.inf) if sinks is None else np.asarray(sinks, dtype=np.float64)
    if sink.shape != s.shape[-3:-2] or np.isnan(sink).any() or np.isposinf(sink).any():
        raise ValueError(f"sinks must be {s.shape[-3]} numbers, one for each head, finite or -inf")
    sink = sink[:, np.newaxis, np.newaxis]
    with np.errstate(all="ignore"):
        m = np.maximum(s.max(axis=-1, keepdims=True, initial=-np.inf), sink)
        # Any finite maximum serves a row that sees nothing; -inf - -inf would make it NaN.
        m[hidden.all(axis=-1, keepdims=True) & np.isneginf(sink)] = 0
        s -= m
        p = np.exp(s, out=s)
        z = p.sum(axis=-1, keepdims=True) + np.exp(sink - m)
        lse = (m + np.log(z))[..., 0]
        p /= z
    # Masked weights are zero by rule, also where the row is NaN (z is) or sees nothing (0 / 0).
    np.copyto(p, 0, where=hidden)
    return p, lse


def weighted_sum(p: Array, v: Array, sees: NDArray[np.bool_]) -> Array:
    """P V, of which a masked value takes no part, whatever it holds."""
    if np.isfinite(v).all():
        return p @ v
    # 0 * NaN is NaN: leave masked values out of the sum rather than multiply them by zero.
    sees = np.broadcast_to(sees, p.shape)
    o = np.empty((*p.shape[:-1], v.shape[-1]))
    with np.errstate(all="ignore"):
        for i in range(p.shape[-2]):
            term = p[..., i, :, np.newaxis] * v
            o[..., i, :] = term.sum(axis=-2, where=sees[..., i, :, np.newaxis])
    return o
