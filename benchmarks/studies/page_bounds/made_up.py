"""Keys that nobody's model has: 8,192 of 64 features, to see what bounds are good and bad at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.studies.page_bounds.measure import Head

KEYS, DIM, QUERIES = 8192, 64, 16
CLUSTER = 128  # keys: one page of the larger kind


def normal(rng: np.random.Generator, length: float) -> Head:
    """Random keys and queries; the deviation of a score is `length`."""
    query = rng.standard_normal((QUERIES, DIM)) * length
    return _head(rng, query, rng.standard_normal((KEYS, DIM)))


def clusters(rng: np.random.Generator, shuffled: bool) -> Head:
    """Keys near one of 64 centres, each query near one of them too."""
    centres = 2 * rng.standard_normal((KEYS // CLUSTER, DIM))
    key = np.repeat(centres, CLUSTER, axis=0) + 0.1 * rng.standard_normal((KEYS, DIM))
    if shuffled:
        rng.shuffle(key)
    query = centres[:QUERIES] + 0.1 * rng.standard_normal((QUERIES, DIM))
    return _head(rng, query, key)


def spikes(rng: np.random.Generator) -> Head:
    """One page has all the weight; in the others, each key has one feature, and the page all.

    The corner of the box is where no key is, and the ball as large as the longest key.
    """
    query = rng.standard_normal((QUERIES, DIM))
    key = 20 * np.eye(DIM)[np.arange(KEYS) % DIM]
    directions = np.linalg.pinv(query).T  # (Q, D): each scores 1 with its own query, 0 with others
    wanted = 24 * DIM**0.5
    key[:CLUSTER] = np.resize(directions * wanted, (CLUSTER, DIM))
    return _head(rng, query, key)


def _head(rng: np.random.Generator, query: np.ndarray, key: np.ndarray) -> Head:
    seen = np.full(QUERIES, KEYS)
    value = rng.standard_normal((KEYS, DIM))
    return Head(query[np.newaxis] / DIM**0.5, key, value, seen)


KINDS: dict[str, Callable[[np.random.Generator], Head]] = {
    "random": lambda rng: normal(rng, 1.0),
    "random, queries 8 times as long": lambda rng: normal(rng, 8.0),
    "clusters, one after the other": lambda rng: clusters(rng, shuffled=False),
    "clusters, shuffled": lambda rng: clusters(rng, shuffled=True),
    "adversarial": spikes,
}
