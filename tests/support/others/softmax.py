"""What all of them share: softmax attention of scores that are there as a whole."""

from __future__ import annotations

import numpy as np


def attend(scores, value):
    """Output and LSE of scores (..., Sq, Sk) and values; a row of -inf gives 0 and -inf."""
    with np.errstate(invalid="ignore", divide="ignore"):
        peak = scores.max(axis=-1, keepdims=True)
        powers = np.exp(scores - np.where(np.isfinite(peak), peak, 0))
        total = powers.sum(axis=-1, keepdims=True)
        weights = powers / np.where(total == 0, 1, total)
        lse = (peak + np.log(total))[..., 0]
    return weights @ value, np.where(total[..., 0] == 0, -np.inf, lse)


def scores_of(query, key, scale=None):
    """Q·Kᵀ of (..., H, S, D) in float64, times the scale."""
    query, key = np.float64(query), np.float64(key)
    return query @ key.swapaxes(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)


def repeated(query, *others, axis=-3):
    """Keys and values with as many heads as the queries."""
    return [np.repeat(x, query.shape[axis] // x.shape[axis], axis=axis) for x in others]


def steps(queries, keys, offset):
    """Where query i stands, minus j: 0 at its own key."""
    return np.arange(queries)[:, None] + offset - np.arange(keys)
