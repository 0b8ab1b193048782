"""Small `KVCache`s and rows for them, and what models of their batch elements give."""

from __future__ import annotations

import numpy as np

from regard import KVCache

BATCH, KV_HEADS, HEADS, DIM, VALUE_DIM, CAPACITY = 3, 2, 4, 8, 5, 20


def make(dtype="float32", batch=BATCH, **more) -> KVCache:
    return KVCache(batch, KV_HEADS, DIM, CAPACITY, dtype, value_dim=VALUE_DIM, **more)


def rows(rng, count, batch=BATCH, dtype="float32"):
    key = rng.standard_normal((batch, KV_HEADS, count, DIM)).astype(dtype)
    return key, rng.standard_normal((batch, KV_HEADS, count, VALUE_DIM)).astype(dtype)


def queries(rng, count, batch=BATCH, dtype="float32"):
    return rng.standard_normal((batch, HEADS, count, DIM)).astype(dtype)


def attended(model, query, counts=None, **options):
    """What models of the batch elements give, stacked."""
    parts = [
        tokens.attend(
            query[b], None if counts is None else counts[b], value_dim=VALUE_DIM, **options
        )
        for b, tokens in enumerate(model)
    ]
    return tuple(np.stack(part) for part in zip(*parts, strict=True))
