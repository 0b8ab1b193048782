"""A small `KVCache` in a buffer."""

from __future__ import annotations

import numpy as np

from regard import KVCache

SIZES = {"batch": 2, "kv_heads": 2, "head_dim": 8, "capacity": 12, "value_dim": 6}


def zeros(**more) -> np.ndarray:
    return np.zeros(KVCache.nbytes_for(**{**SIZES, **more}), np.uint8)


def rows(rng, count):
    key = rng.standard_normal((2, 2, count, 8)).astype(np.float32)
    return key, rng.standard_normal((2, 2, count, 6)).astype(np.float32)
