"""Which pages are read: from the highest bound down, until the rest cannot matter.

Of the pages read, l = Σ exp(s). The others weigh at most L = Σ rows · exp(bound). Reading stops
when L <= eps · l. Logarithms of both, so that no score is too large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.page_bounds.bounds import Array


def log_sum_exp(x: Array) -> Array:
    """Reduce the last axis; -inf where it has nothing but -inf."""
    largest = x.max(axis=-1, keepdims=True)
    largest = np.where(np.isneginf(largest), 0, largest)
    with np.errstate(divide="ignore"):
        total: Array = np.log(np.exp(x - largest).sum(axis=-1)) + largest[..., 0]
    return total


def pages_read(bounds: Array, lse: Array, rows: int, eps: float) -> NDArray[np.bool_]:
    """Mark the pages that have to be read.

    Parameters
    ----------
    bounds : ndarray, shape (..., pages)
        On the scores of each page; -inf if the query does not see it.
    lse : ndarray, shape (..., pages)
        Log of the sum of exp(s) over each page: what is known once it has been read.
    rows : int
        Of a page.
    eps : float

    Returns
    -------
    ndarray of bool, shape (..., pages)
    """
    order = np.argsort(-bounds, axis=-1, kind="stable")
    ordered = np.take_along_axis(bounds, order, axis=-1) + np.log(rows)
    read = np.logaddexp.accumulate(np.take_along_axis(lse, order, axis=-1), axis=-1)
    rest = np.full_like(read, -np.inf)
    rest[..., :-1] = np.logaddexp.accumulate(ordered[..., :0:-1], axis=-1)[..., ::-1]
    enough = rest <= np.log(eps) + read
    behind = np.zeros_like(enough)
    behind[..., 1:] = np.logical_or.accumulate(enough, axis=-1)[..., :-1]
    marked = np.empty_like(enough)
    np.put_along_axis(marked, order, ~behind & ~np.isneginf(ordered), axis=-1)
    return marked
