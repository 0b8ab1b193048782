"""What a score is: scaled products, capped, with what is added for positions and pairs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import (
    Array,
    PositionBias,
    ScoreFunction,
    exact,
    per_head,
    per_query,
    per_query_head,
    with_heads,
)
from regard.reference._stored import values


def scores(
    query: ArrayLike,
    key: ArrayLike,
    *,
    batch: tuple[int, ...] | None = None,
    bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreFunction | None = None,
    elements: NDArray[np.int64] | None = None,
    scale: ArrayLike | None = None,
    query_scale: ArrayLike | None = None,
    softcap: ArrayLike | None = None,
    alibi_slopes: ArrayLike | None = None,
    similarity: Literal["dot", "cosine"] = "dot",
    offset: ArrayLike | None = None,
) -> Array:
    """Compute the scores of every pair, seen or not.

    In this order: scale · query_scale · Q Kᵀ, softcap, ALiBi, score_mod, position_bias, bias.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
        Query head h is scored against kv head h // (Hq // Hkv).
    batch : tuple of int, optional
        Batch axes of the result; those of query and key, broadcast, if not given.
    bias : array_like of float, broadcast to (..., Hq, Sq, Sk)
        Added to the scores.
    position_bias : object of regard.bias, optional
        Its ``to_dense(Sq, Sk, offset)`` is added to the scores.
    score_mod : callable, optional
        ``f(scores, batch, head, query, key)`` is called for the scores (Sq, Sk) of each element and
        head, with index arrays that broadcast to them, and returns what they become.
    elements : ndarray of int64, optional
        The numbers that score_mod knows the batch elements by, their flat indices if not given.
    scale : float, or array_like of shape (Hq,), optional
        1 / sqrt(D) if not given; 1 with cosine similarity.
    query_scale : array_like of float, broadcast to (..., Hq, Sq), optional
        One more factor of the scores of each query.
    softcap : float, or array_like of shape (Hq,), optional
        c > 0 bounds the scores by s = c · tanh(s / c), before anything is added; 0 does not.
    alibi_slopes : array_like of float, broadcast to (..., Hq)
        Adds -slope · abs(p - j), the distance between the positions of query and key.
    similarity : "dot" or "cosine"
        With ``"cosine"`` each vector of query and key is divided by its Euclidean norm; the
        similarity of a vector of zeros with any other is 0.
    offset : array_like of int, shape () or (..., 1, 1, 1), optional
        What :func:`offsets` returns: query i is at position p = i + offset. Sk - Sq if not given.

    Returns
    -------
    ndarray of float64, shape (..., Hq, Sq, Sk)

    Examples
    --------
    >>> from regard import reference
    >>> reference.scores([[[3.0, 4.0]]], [[[1.0, 0.0], [0.0, 2.0]]], scale=0.5)
    array([[[1.5, 4. ]]])
    >>> reference.scores([[[3.0, 4.0]]], [[[1.0, 0.0], [0.0, 2.0]]], similarity="cosine")
    array([[[0.6, 0.8]]])
    """
    q, k = with_heads(values(query)), with_heads(values(key))
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(f"query and key need one head_dim > 0: {q.shape}, {k.shape}")
    if similarity not in ("dot", "cosine"):
        raise ValueError(f"similarity must be 'dot' or 'cosine', not {similarity!r}")
    if scale is None:
        scale = 1 if similarity == "cosine" else 1 / np.sqrt(q.shape[-1])
    if batch is None:
        batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3])
    heads, queries, keys = *q.shape[-3:-1], k.shape[-2]
    offset = np.asarray(keys - queries if offset is None else offset, dtype=np.int64)
    q = np.broadcast_to(q, (*batch, *q.shape[-3:]))
    k = per_query_head(k, heads)
    with np.errstate(all="ignore"):  # NaN and Inf are legal here; masks may yet discard them
        if similarity == "cosine":
            q, k = unit_vectors(q), unit_vectors(k)
        s: Array = q @ k.swapaxes(-1, -2)
        s *= per_head("scale", scale, heads)
        if query_scale is not None:
            s *= per_query(query_scale, s.shape)
        if softcap is not None:
            s = _capped(s, per_head("softcap", softcap, heads))
        if alibi_slopes is not None:
            slopes = np.broadcast_to(np.asarray(alibi_slopes, np.float64), (*batch, heads))
            p = np.arange(queries)[:, np.newaxis] + exact(offset)
            distance = np.abs(p - np.arange(keys)).astype(np.float64)
            s += -slopes[..., np.newaxis, np.newaxis] * distance
        if score_mod is not None:
            s = mapped(score_mod, elements, s)
        if position_bias is not None:
            s += _dense_bias(position_bias, heads, queries, keys, offset)
        if bias is not None:
            s += np.broadcast_to(values(bias), s.shape)
    return s


def mapped(function: ScoreFunction, elements: NDArray[np.int64] | None, *of_pairs: Array) -> Array:
    """Call a function for each element and head of arrays (..., Hq, Sq, Sk)."""
    *batch, heads, queries, keys = of_pairs[0].shape
    count = int(np.prod(batch, dtype=int))
    flat = np.arange(count) if elements is None else np.asarray(elements).reshape(-1)
    numbers = np.broadcast_to(flat, count).reshape(batch)
    i, j = np.arange(queries)[:, np.newaxis], np.arange(keys)[np.newaxis]
    found = np.empty(of_pairs[0].shape)
    for at in np.ndindex(*batch, heads):
        place = np.full((1, 1), numbers[at[:-1]]), np.full((1, 1), at[-1]), i, j
        found[at] = function(*(x[at].copy() for x in of_pairs), *place)
    return found


def unit_vectors(x: Array) -> Array:
    """Each vector divided by its norm, vectors of zeros left as they are."""
    # The largest number of the vector first: squares of tiny or huge ones leave the range.
    largest = np.abs(x).max(axis=-1, keepdims=True)
    x = np.divide(x, largest, out=np.zeros_like(x), where=largest != 0)
    norm = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    unit: Array = np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)
    return unit


def _capped(s: Array, cap: Array) -> Array:
    """Return c · tanh(s / c) where c > 0, and s itself where c is 0."""
    if not ((cap >= 0) & np.isfinite(cap)).all():
        raise ValueError("softcap must be finite and not negative; 0 is off")
    return np.where(cap > 0, cap * np.tanh(s / np.where(cap > 0, cap, 1)), s)


def _dense_bias(
    position_bias: PositionBias, heads: int, queries: int, keys: int, offset: NDArray[np.int64]
) -> Array:
    """Return what a position bias adds, (..., Hq or 1, Sq, Sk)."""
    if offset.size == 0:
        return np.zeros((1, 1, 1))
    distinct, inverse = np.unique(offset, return_inverse=True)
    dense = np.stack(
        [np.asarray(position_bias.to_dense(queries, keys, int(o)), np.float64) for o in distinct]
    )
    if dense.shape[1] not in (1, heads):
        raise ValueError(f"position_bias has {dense.shape[1]} heads and query has {heads}")
    bias: Array = dense[inverse.reshape(offset.shape[:-3])]
    return bias
