"""The decoder: token numbers in, the logits of the next token out.

Shapes: S new tokens, C = 576 channels, H = 9 query heads that share Hkv = 3 key/value heads of
D = 64 features, F = 1536 channels inside the feed-forward layer, V = 49152 words.

    x = embedding[tokens]                                       (S, C)
    for each of the 30 layers:
        x = x + attention(norm(x)) Wo                           (S, C)
        x = x + (silu(norm(x) Wgate) * (norm(x) Wup)) Wdown     (S, C)
    logits = norm(x[last]) embedding^T                          (V,)

This is the architecture of Llama: normalisation by the root mean square in front of every layer,
rotary positions, grouped-query attention, a gated feed-forward layer (SwiGLU), and no biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from _models.smollm2.stopwatch import Stopwatch
from regard.positions import Rope

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Config:
    """What the model file says about the model, besides the weights."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_base: float
    norm_epsilon: float


class Cache(Protocol):
    """Keys and values of the tokens that one layer has read: a `regard.KVCache`, say."""

    def append(self, key: Array, value: Array, rope: Rope) -> None:
        """Take in the keys, turned by their positions, and values of S tokens: (Hkv, S, D)."""

    def attend(self, query: Array) -> Any:
        """Let the last S tokens attend to all up to themselves: (H, S, D) -> (H, S, D)."""


class Model:
    """The decoder. What it has read is in the caches that are handed to it, one for each layer.

    Parameters
    ----------
    config : Config
    weights : mapping of str to ndarray of float32
        By their names in the model file; matrices are (outputs, inputs).
    """

    def __init__(self, config: Config, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights
        self.stopwatch = Stopwatch()
        # The published weights turn feature n with n + D / 2. A GGUF file holds the rows of Wq and
        # Wk in an order that makes the two neighbours.
        self.rope = Rope(base=config.rope_base, interleaved=True)

    def forward(self, tokens: Sequence[int], caches: Sequence[Cache]) -> Array:
        """Read S more tokens and return the logits of the one that follows: (V,)."""
        x = self.weights["token_embd.weight"][list(tokens)]
        for i, cache in enumerate(caches):
            x = x + self.attention(self.norm(x, f"blk.{i}.attn_norm"), f"blk.{i}.attn", cache)
            x = x + self.feed_forward(self.norm(x, f"blk.{i}.ffn_norm"), f"blk.{i}.ffn")
        last = self.norm(x[-1:], "output_norm")
        logits: Array = self.linear(last, "token_embd")[0]  # the embedding is used both ways
        return logits

    def attention(self, x: Array, name: str, cache: Cache) -> Array:
        """Grouped-query attention to all tokens so far: (S, C) -> (S, C)."""
        query = split_heads(self.linear(x, f"{name}_q"), self.config.heads)  # (H, S, D)
        key = split_heads(self.linear(x, f"{name}_k"), self.config.kv_heads)  # (Hkv, S, D)
        value = split_heads(self.linear(x, f"{name}_v"), self.config.kv_heads)
        with self.stopwatch("attention"):
            cache.append(key, value, self.rope)
            context = cache.attend(query)  # (H, S, D)
        return self.linear(join_heads(context), f"{name}_output")

    def feed_forward(self, x: Array, name: str) -> Array:
        """SwiGLU, each token for itself: (S, C) -> (S, F) -> (S, C)."""
        gate = self.linear(x, f"{name}_gate")
        hidden = silu(gate) * self.linear(x, f"{name}_up")
        return self.linear(hidden, f"{name}_down")

    def linear(self, x: Array, name: str) -> Array:
        """Multiply by the weights of that name: (S, inputs) -> (S, outputs)."""
        with self.stopwatch("linear layers"):
            product: Array = x @ self.weights[f"{name}.weight"].T
        return product

    def norm(self, x: Array, name: str) -> Array:
        """Divide each token by the root mean square of its channels."""
        mean_square = np.square(x).mean(axis=-1, keepdims=True)
        normal: Array = x / np.sqrt(mean_square + np.float32(self.config.norm_epsilon))
        return normal * self.weights[f"{name}.weight"]


def silu(x: Array) -> Array:
    """Compute x * sigmoid(x); exp overflows to the right limit, x / inf = 0."""
    with np.errstate(over="ignore"):
        result: Array = x / (1 + np.exp(-x))
    return result


def split_heads(x: Array, heads: int) -> Array:
    """View (S, heads * D) as (heads, S, D), copying nothing."""
    view: Array = x.reshape(len(x), heads, -1).swapaxes(0, 1)
    return view


def join_heads(x: Array) -> Array:
    """Put the heads of each token side by side: (heads, S, D) -> (S, heads * D)."""
    joined: Array = x.swapaxes(0, 1).reshape(x.shape[1], -1)
    return joined
