"""What a matrix of weights looks like, in a few numbers a row, a column and a cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import Array
from regard.reference._softmax import probabilities


class Summary(NamedTuple):
    """Facts about the weights P of one call; see :func:`summary`."""

    column_sums: Array
    entropy: Array
    row_max: Array
    top_indices: NDArray[np.int64]
    top_weights: Array
    pooled: Array
    lse: Array


def summary(
    query: ArrayLike,
    key: ArrayLike,
    *,
    top_k: int = 8,
    pooled: tuple[int, int] = (128, 128),
    **options: Any,
) -> Summary:
    """Summarize the weights P.

    Parameters
    ----------
    query, key, **options
        As for :func:`weights`.
    top_k : int
        How many of the largest weights of each row to list.
    pooled : (int, int)
        R and C, rows and columns of the pooled map; at most Sq and Sk.

    Returns
    -------
    Summary
        Named, all float64 but the indices:

        - ``column_sums`` (..., Hq, Sk): how much each key is attended to, Σ over the queries.
        - ``entropy`` (..., Hq, Sq): -Σ P log P of each row, natural logarithm.
        - ``row_max`` (..., Hq, Sq): the largest weight.
        - ``top_indices``, ``top_weights`` (..., Hq, Sq, top_k): the keys of the largest weights, by
          weight descending, equal ones by index; -1 and 0 where a query sees fewer keys.
        - ``pooled`` (..., Hq, R, C): sum over the keys of a cell, mean over its rows. Cell a of R
          holds rows a · Sq // R up to (a + 1) · Sq // R, and so do keys.
        - ``lse`` (..., Hq, Sq): log-sum-exp.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> facts = reference.summary(np.eye(3), np.eye(3), causal=True, scale=0.0, top_k=2)
    >>> facts.column_sums.round(3)
    array([1.833, 0.833, 0.333])
    >>> facts.top_indices
    array([[ 0, -1],
           [ 0,  1],
           [ 0,  1]])
    """
    p, lse, sees = probabilities(query, key, **options)
    with np.errstate(all="ignore"):
        entropy = -np.where(p == 0, 0, p * np.log(np.where(p == 0, 1, p))).sum(axis=-1)
    indices, largest = _top(p, np.broadcast_to(sees, p.shape), top_k)
    facts = (
        p.sum(axis=-2),
        entropy,
        p.max(axis=-1, initial=0),
        indices,
        largest,
        _pool(_pool(p, pooled[1], axis=-1), pooled[0], axis=-2, mean=True),
        lse,
    )
    if max(np.ndim(query), np.ndim(key)) <= 2:
        return Summary(*(fact[0] for fact in facts))
    return Summary(*facts)


def _top(p: Array, sees: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int64], Array]:
    """Return indices and weights of the k largest of each row."""
    short = [(0, 0)] * (p.ndim - 1) + [(0, max(k - p.shape[-1], 0))]
    p, sees = np.pad(p, short), np.pad(sees, short)
    order = np.argsort(np.where(sees, -p, np.inf), axis=-1, kind="stable")[..., :k]
    seen = np.take_along_axis(sees, order, axis=-1)
    return np.where(seen, order, -1), np.where(seen, np.take_along_axis(p, order, axis=-1), 0)


def _pool(x: Array, cells: int, axis: int, mean: bool = False) -> Array:
    """Sum, or average, over cells of neighbours along an axis."""
    n = x.shape[axis]
    cells = min(cells, n)
    if cells == 0:
        return np.take(x, [], axis=axis)
    edges = np.arange(cells + 1) * n // cells
    pooled: Array = np.add.reduceat(x, edges[:-1], axis=axis)
    sizes = np.diff(edges)
    return pooled / np.expand_dims(sizes, -1) if mean else pooled
