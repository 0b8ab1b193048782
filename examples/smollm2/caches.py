"""Where keys and values are kept: in NumPy arrays here, for comparison, or in `regard.KVCache`."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard
from smollm2.model import Array


class NumpyCache:
    """One layer's keys and values in float32, and attention as a NumPy program writes it."""

    def __init__(self, kv_heads: int, head_dim: int, capacity: int) -> None:
        self.keys = np.empty((kv_heads, capacity, head_dim), np.float32)
        self.values = np.empty((kv_heads, capacity, head_dim), np.float32)
        self.length = 0

    def append(self, key: Array, value: Array, *, rope: Any) -> None:
        """Rotate and copy: (1, Hkv, S, D) each."""
        end = self.length + key.shape[2]
        self.rope = rope
        self.keys[:, self.length : end] = rope(key[0], np.arange(self.length, end))
        self.values[:, self.length : end] = value[0]
        self.length = end

    def attend(self, query: Array) -> Array:
        """Let the last S tokens attend to all up to themselves: (1, H, S, D) -> same."""
        (_, heads, new, dim), (kv_heads, _, _) = query.shape, self.keys.shape
        end = self.length
        rotated = self.rope(query[0], np.arange(end - new, end)) / np.float32(dim**0.5)
        # The heads that share keys are rows of one product: (Hkv, H / Hkv * S, D).
        rows = rotated.reshape(kv_heads, -1, dim)
        scores = rows @ self.keys[:, :end].swapaxes(1, 2)  # (Hkv, H / Hkv * S, length)
        if new > 1:
            future = np.arange(end) > np.arange(end - new, end)[:, np.newaxis]
            scores.reshape(heads, new, end)[:, future] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores, out=scores)
        context = weights @ self.values[:, :end]
        context /= weights.sum(axis=-1, keepdims=True)
        result: Array = context.reshape(1, heads, new, dim)
        return result


class RegardCache(NumpyCache):
    """The same with its attention by regard."""

    def attend(self, query: Array) -> Array:
        """Let the last S tokens attend to all up to themselves: (1, H, S, D) -> same."""
        end = self.length
        rotated = self.rope(query, np.arange(end - query.shape[2], end))
        return regard.attention(
            rotated, self.keys[np.newaxis, :, :end], self.values[np.newaxis, :, :end], causal=True
        )
