"""The semantics word by word, one pair at a time, in plain Python: what the oracle is held to."""

from __future__ import annotations

import math

import numpy as np

from regard.reference.philox import philox4x32


def visible(b, h, i, j, sizes, *, causal=False, window=None, mask=None, bias=None,
            key_lengths=None, query_lengths=None, query_offset=None):  # fmt: skip
    """Whether query i of head h sees key j, and the query's position."""
    queries, keys = sizes
    rows = queries if query_lengths is None else of_element(query_lengths, b)
    length = keys if key_lengths is None else of_element(key_lengths, b)
    offset = length - rows
    if causal == "upper_left":
        offset = 0
    if query_offset is not None:
        offset = of_element(query_offset, b)
    p = i + offset
    if i >= rows or j >= length or (causal and j > p):
        return False, p
    if window is not None:
        left, right = window if isinstance(window, tuple) else (window, window)
        left, right = (of_side(w, h) for w in (left, right))
        if left is not None and j < p - left:
            return False, p
        if right is not None and j > p + right:
            return False, p
    if mask is not None and not of_pair(getattr(mask, "dense", mask), b, h, i, j):
        return False, p
    return bias is None or of_pair(bias, b, h, i, j) != -math.inf, p


def of_side(side, h):
    """The limit of head h: in arrays -1 is none, in lists None."""
    if isinstance(side, np.ndarray):
        return None if side[h] == -1 else int(side[h])
    return side[h] if isinstance(side, list) else side


def of_element(x, b):
    """The number of batch element b."""
    return int(x) if np.ndim(x) == 0 else int(x[b])


def of_head(x, h):
    return float(x) if np.ndim(x) == 0 else float(x[h])


def of_pair(x, *place):
    """The entry of a pair in an array with fewer axes, or axes of 1."""
    shape = np.shape(x)
    place = place[len(place) - len(shape) :]
    return x[tuple(0 if n == 1 else at for n, at in zip(shape, place, strict=True))]


def dot(x, y):
    return sum(float(a) * float(b) for a, b in zip(x, y, strict=True))


def score(q, k, b, h, i, j, p, *, scale, softcap, alibi_slopes, position_bias, bias, similarity,
          query_scale=None):  # fmt: skip
    s = dot(q, k)
    if similarity == "cosine":
        norms = math.sqrt(dot(q, q)) * math.sqrt(dot(k, k))
        s = s / norms if norms else 0.0
        s *= 1 if scale is None else of_head(scale, h)
    else:
        s *= 1 / math.sqrt(len(q)) if scale is None else of_head(scale, h)
    if query_scale is not None:
        s *= float(of_pair(query_scale, b, h, i))
    cap = 0.0 if softcap is None else of_head(softcap, h)
    if cap:
        s = cap * math.tanh(s / cap)
    if alibi_slopes is not None:
        slopes = alibi_slopes[b] if np.ndim(alibi_slopes) == 2 else alibi_slopes
        s -= float(slopes[h]) * abs(p - j)
    if position_bias is not None:
        # Its own definition, not its to_dense(): column of the head, or the only one.
        far = min(max(j - p, -position_bias.reach), position_bias.reach)
        table = position_bias.table
        s += float(table[far + position_bias.reach, h if table.shape[1] > 1 else 0])
    return s if bias is None else s + float(of_pair(bias, b, h, i, j))


def kept(seed, dropout, b, h, i, j):
    word = philox4x32([j >> 2, i, h, b], [seed & 0xFFFFFFFF, seed >> 32])[j & 3]
    return word >= dropout * 2**32


def by_loops(query, key, value, *, sinks=None, dropout=0.0, seed=None, scale=None, softcap=None,
             alibi_slopes=None, position_bias=None, similarity="dot", bias=None,
             query_scale=None, **masks):  # fmt: skip
    """Output, LSE and weights. Arrays are (batch, heads, length, dim)."""
    shape = (*query.shape[:3], key.shape[2])
    out = np.zeros((*shape[:3], value.shape[-1]))
    lse, weights = np.full(shape[:3], -np.inf), np.zeros(shape)
    queries, keys = shape[2:]
    rows = masks.get("query_lengths")
    for b, h, i in np.ndindex(*shape[:3]):
        g = h // (shape[1] // key.shape[1])
        seen = {}
        for j in range(keys):
            sees, p = visible(b, h, i, j, (queries, keys), bias=bias, **masks)
            if sees:
                seen[j] = score(
                    query[b, h, i], key[b, g, j], b, h, i, j, p, scale=scale, softcap=softcap,
                    alibi_slopes=alibi_slopes, position_bias=position_bias, bias=bias,
                    similarity=similarity, query_scale=query_scale,
                )  # fmt: skip
        sink = -math.inf if sinks is None else float(sinks[h])
        if rows is not None and i >= of_element(rows, b):
            continue
        top = max([*seen.values(), sink])
        if top == -math.inf:
            continue
        z = sum(math.exp(s - top) for s in seen.values()) + math.exp(sink - top)
        lse[b, h, i] = top + math.log(z)
        for j, s in seen.items():
            weight = math.exp(s - top) / z
            if dropout:
                weight = weight / (1 - dropout) if kept(seed, dropout, b, h, i, j) else 0.0
            weights[b, h, i, j] = weight
            out[b, h, i] += weight * value[b, g, j]
    return out, lse, weights
