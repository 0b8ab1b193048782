"""What the keys of one KV head allow to leave out, for the queries of its group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.page_bounds.bounds import Array, all_bounds
from benchmarks.studies.page_bounds.reading import log_sum_exp, pages_read

TOLERANCES = (1e-2, 1e-3, 1e-6)
# 64 and 128 are what a page of a cache has; 16 shows what smaller ones would do, and a page of one
# key that no choice of pages can do better.
ROWS = (1, 16, 64, 128)
MAXIMA, WEIGHTS = "its largest score, if it were known", "its weight, if it were known"


@dataclass(frozen=True)
class Head:
    """A KV head, and queries of its group, where they stand.

    Parameters
    ----------
    query : ndarray, shape (G, S, D)
        Of the G heads that share the keys; times the scale.
    key, value : ndarray, shape (keys, D)
    seen : ndarray of int, shape (S,)
        How many keys each query sees: the first ones, in whole pages.
    """

    query: Array
    key: Array
    value: Array
    seen: NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """How much is left unread under a bound.

    Parameters
    ----------
    rows : int
        Of a page.
    bound : str
    eps : float
    query_head, kv_head : ndarray, shape (S,)
        Shares of the pages that are left unread, by one query head on average, and by all heads of
        the group at once: what need not come from memory.
    error : float
        The largest difference from the exact output, in units of what is proven, 2 eps max|V|.
    """

    rows: int
    bound: str
    eps: float
    query_head: Array
    kv_head: Array
    error: float


@dataclass(frozen=True)
class Distance:
    """How far a bound is above the largest score of a page, in nats; the median over pages."""

    rows: int
    bound: str
    nats: float


class Scored:
    """A head's scores in pages of so many rows."""

    def __init__(self, head: Head, rows: int) -> None:
        self.rows = rows
        self.keys = head.key.reshape(-1, rows, head.key.shape[1])
        pages = len(self.keys)
        hidden = np.arange(pages) >= head.seen[:, np.newaxis] // rows  # (S, pages)
        self.seen = ~hidden
        scores = (head.query @ head.key.T).reshape(*head.query.shape[:2], pages, rows)
        scores[:, hidden] = -np.inf
        self.maxima = scores.max(axis=-1)  # (G, S, pages)
        self.lse = log_sum_exp(scores)
        self.total = log_sum_exp(self.lse)  # (G, S)
        self.weights = np.exp(scores - self.total[..., np.newaxis, np.newaxis])
        self.value = head.value
        self.out = self.weights.reshape(*self.total.shape, -1) @ head.value
        self.largest_value = np.abs(head.value).max()

    def bounds(self, query: Array) -> dict[str, Array]:
        """Compute all bounds of all pages that are seen, and what nobody knows before reading."""
        found = {} if self.rows == 1 else all_bounds(query, self.keys)
        if self.rows > 1:
            found[MAXIMA] = self.maxima
        found[WEIGHTS] = self.lse - np.log(self.rows)
        return {name: np.where(self.seen, bound, -np.inf) for name, bound in found.items()}

    def share(self, name: str, bound: Array, eps: float) -> Share:
        """Read pages in the order of a bound, until they are enough."""
        read = pages_read(bound, self.lse, self.rows, eps)
        pages = self.seen.sum(axis=-1)
        error = 0.0
        if (read != self.seen).any():
            error = self._error(read) / (2 * eps * self.largest_value)
        return Share(
            self.rows,
            name,
            eps,
            1 - (read.sum(axis=-1) / pages).mean(axis=0),
            1 - read.any(axis=0).sum(axis=-1) / pages,
            float(error),
        )

    def _error(self, read: NDArray[np.bool_]) -> float:
        """Compare the output of these pages alone with the exact one."""
        kept = np.where(read[..., np.newaxis], self.weights, 0).reshape(*self.total.shape, -1)
        out = kept @ self.value / kept.sum(axis=-1, keepdims=True)
        return float(np.abs(out - self.out).max())

    def distance(self, name: str, bound: Array) -> Distance:
        """Compare a bound with the largest score of each page, which must not be above it."""
        above = (bound - self.maxima)[:, self.seen]
        if (above < -1e-9 * np.abs(self.maxima[:, self.seen]).max()).any() and name != WEIGHTS:
            raise AssertionError(f"{name}: a score is above its bound")
        return Distance(self.rows, name, float(np.median(above)))

    def depth(self) -> Distance:
        """How far the largest score of a page is beneath the logarithm of all weight."""
        below = (self.total[..., np.newaxis] - self.maxima)[:, self.seen]
        return Distance(self.rows, DEPTH, float(np.median(below)))


DEPTH = "all weight, above the largest score of a page"


def measure(head: Head, rows: tuple[int, ...] = ROWS) -> Iterator[Share | Distance]:
    """Find what can be left unread, by page size, bound and tolerance."""
    for size in rows:
        scored = Scored(head, size)
        if size > 1:
            yield scored.depth()
        for name, bound in scored.bounds(head.query).items():
            if name not in (MAXIMA, WEIGHTS):
                with np.errstate(invalid="ignore"):  # -inf - -inf where nothing is seen
                    yield scored.distance(name, bound)
            for eps in TOLERANCES:
                yield scored.share(name, bound, eps)
