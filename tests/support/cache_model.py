"""A cache as a list of tokens, in plain NumPy and float64: what the caches are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import regard
from regard import reference
from regard.positions import Rope

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8"]


def stored(x: np.ndarray, dtype: str) -> np.ndarray:
    """What is left of rows (..., dim) after they have been rounded, in float64."""
    if dtype in ("float16", "float32", "float64"):
        return x.astype(dtype).astype(np.float64)
    x = x.astype(np.float32)
    if dtype == "bfloat16":  # eight bits of mantissa
        mantissa, exponent = np.frexp(x.astype(np.float64))
        return np.ldexp(np.rint(mantissa * 256), exponent - 8)
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    steps = np.rint(x / np.where(scale > 0, scale, np.float32(1)))
    return steps.astype(np.float64) * scale


@dataclass
class Tokens:
    """The tokens of one sequence, as they are stored."""

    dtype: str
    rope: Rope | None = None
    window: int | None = None
    sinks: int = 0
    keys: list[np.ndarray] = field(default_factory=list)  # of (kv_heads, head_dim)
    values: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def copy(self) -> Tokens:
        return Tokens(self.dtype, self.rope, self.window, self.sinks, self.keys[:], self.values[:])

    def append(self, key: np.ndarray, value: np.ndarray) -> None:
        """Key and value of (kv_heads, n, dim)."""
        for n in range(key.shape[1]):
            row = key[:, n : n + 1]
            if self.rope is not None:
                row = self.rope(row, [len(self)])
            self.keys.append(stored(row, self.dtype)[:, 0])
            self.values.append(stored(value[:, n], self.dtype))

    def truncate(self, length: int) -> None:
        del self.keys[length:], self.values[length:]

    def attend(
        self, query: np.ndarray, queries: int | None = None, **options: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Output and LSE of query (heads, Sq, head_dim), of which `queries` count."""
        count = query.shape[1]
        queries = count if queries is None else queries
        heads, dim = query.shape[0], query.shape[2]
        kv_heads, value_dim = self.values[0].shape if self.keys else (1, options.pop("value_dim"))
        options.pop("value_dim", None)
        p = len(self) - queries + np.arange(count)
        j = np.arange(len(self))
        far = near = query
        key = np.array(self.keys).reshape(len(self), kv_heads, dim).swapaxes(0, 1)
        value = np.array(self.values).reshape(len(self), kv_heads, value_dim).swapaxes(0, 1)
        is_sink = j < self.sinks
        mask = np.ones((count, len(self)), bool)
        as_seen = np.minimum(p, self.sinks + self.window) if self.window is not None else p
        if self.window is not None:
            mask &= is_sink | (j >= (p - self.window)[:, None])
        if self.rope is not None:
            far, near = self.rope(query, p), self.rope(query, as_seen)
        # One product for both ways to see a key: half of each row is zeros.
        wide_query = np.concatenate((near, far), axis=-1).astype(np.float64)
        zeros = np.zeros_like(key)
        wide_key = np.where(
            is_sink[:, None], np.concatenate((key, zeros), -1), np.concatenate((zeros, key), -1)
        )
        by_distance = options.pop("by_distance", None)  # what distances 0, 1, ... add, (heads, n)
        if "alibi_slopes" in options and self.window is not None:
            slopes = np.asarray(options.pop("alibi_slopes"))
            by_distance = -slopes[:, None] * np.arange(self.sinks + self.window + 1)
        if by_distance is not None:
            distance = np.where(is_sink, as_seen[:, None] - j, p[:, None] - j)
            options["bias"] = by_distance[:, distance.clip(0, by_distance.shape[1] - 1)]
        options.setdefault("causal", True)
        options.setdefault("scale", 1 / np.sqrt(dim))
        out, lse = reference.attention(
            wide_query, wide_key, value, mask=mask & options.pop("mask", True),
            query_lengths=queries, return_lse=True, **options,
        )  # fmt: skip
        assert out.shape == (heads, count, value_dim)
        return out, lse


TOLERANCE = {
    "float64": {"rtol": 1e-11, "atol": 1e-12},
    "float32": {"rtol": 1e-5, "atol": 1e-5},
}


def near(got: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    """Compare output and LSE of float32 or float64."""
    for one, other in zip(got, expected, strict=True):
        assert one.shape == np.shape(other)
        np.testing.assert_allclose(one, other, **TOLERANCE[one.dtype.name])


def widened(x: np.ndarray) -> np.ndarray:
    """An output of half precision in float32, with or without ml_dtypes."""
    return regard.to_float32(x)


def query_dtype(dtype: str) -> str:
    """The type of queries for a storage type."""
    return "float64" if dtype == "float64" else "float32"
