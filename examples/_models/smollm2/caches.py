"""Where keys and values are kept: by `regard.KVCache`, or for comparison in NumPy's arrays."""

from __future__ import annotations

import numpy as np

import regard
from _models.smollm2.model import Array, Cache, Config
from regard.positions import Rope

DTYPES = {"bf16": "bfloat16", "int8": "int8", "f16": "float16", "f32": "float32"}


def regard_caches(
    config: Config, capacity: int, dtype: str, window: int | None = None, sinks: int = 0
) -> list[Cache]:
    """Make empty caches for all layers, with any of the `DTYPES`.

    With a window they forget older tokens, but for the first ones, the sinks, which attention
    leans on whatever they say (Xiao et al. 2023).
    """
    heads, dim = config.kv_heads, config.head_dim
    return [
        regard.KVCache(1, heads, dim, capacity, DTYPES[dtype], window=window, sink_tokens=sinks)
        for _ in range(config.layers)
    ]


def numpy_caches(config: Config, capacity: int) -> list[Cache]:
    """Make empty caches for all layers, with attention as a NumPy program writes it."""
    return [NumpyCache(config.kv_heads, config.head_dim, capacity) for _ in range(config.layers)]


class NumpyCache:
    """Keys and values of one layer in float32."""

    def __init__(self, kv_heads: int, head_dim: int, capacity: int) -> None:
        self.keys = np.empty((kv_heads, capacity, head_dim), np.float32)
        self.values = np.empty((kv_heads, capacity, head_dim), np.float32)
        self.length = 0

    def append(self, key: Array, value: Array, rope: Rope) -> None:
        """Take in the keys, turned by their positions, and values of S tokens: (Hkv, S, D)."""
        start, end = self.length, self.length + key.shape[1]
        self.keys[:, start:end] = rope(key, np.arange(start, end))
        self.values[:, start:end] = value
        self.length = end
        self.rope = rope

    def attend(self, query: Array) -> Array:
        """Let the last S tokens attend to all up to themselves: (H, S, D) -> (H, S, D)."""
        heads, new, dim = query.shape
        kv_heads, _, _ = self.keys.shape
        positions = np.arange(self.length - new, self.length)
        query = self.rope(query, positions) / np.float32(dim**0.5)
        # The heads that share keys are rows of one product: (Hkv, H / Hkv * S, D).
        rows = query.reshape(kv_heads, -1, dim)
        scores = rows @ self.keys[:, : self.length].swapaxes(1, 2)
        if new > 1:
            future = np.arange(self.length) > positions[:, np.newaxis]
            np.copyto(scores.reshape(heads, new, self.length), -np.inf, where=future)
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores, out=scores)
        context = weights @ self.values[:, : self.length]
        context /= weights.sum(axis=-1, keepdims=True)
        result: Array = context.reshape(heads, new, dim)
        return result
