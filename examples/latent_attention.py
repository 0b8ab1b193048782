"""Latent attention (MLA) as in DeepSeek-V2, plain and absorbed, and what each has to cache.

Each token is one latent vector and one rotary key. The plain form makes keys and values of all
heads from it. The absorbed form takes the matrix that makes keys into the queries and the one that
makes values into the output, and attends to the latent rows themselves:

    q_nope . (W_uk c) = (W_uk' q_nope) . c        sum_j p_j (W_uv c_j) = W_uv (sum_j p_j c_j)

    python examples/latent_attention.py
    python examples/latent_attention.py --heads 16 --tokens 1000 --dtype int8

The weights are random: what is shown is that the two forms agree, and how many bytes they keep.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import regard
from regard.positions import Rope, rope

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """Matrices of one attention layer, without those that come before the queries' heads."""

    q_nope: Array  # (heads, hidden, nope_dim)
    q_rope: Array  # (heads, hidden, rope_dim)
    to_latent: Array  # (hidden, latent_dim)
    to_rope: Array  # (hidden, rope_dim)
    up_key: Array  # (heads, latent_dim, nope_dim)
    up_value: Array  # (heads, latent_dim, value_dim)

    @property
    def scale(self) -> float:
        """Of the heads as they are, absorbed or not."""
        return float((self.q_nope.shape[2] + self.q_rope.shape[2]) ** -0.5)


def random_layer(
    rng: np.random.Generator,
    heads: int,
    hidden: int = 256,
    nope_dim: int = 128,
    rope_dim: int = 64,
    latent_dim: int = 512,
    value_dim: int = 128,
) -> Layer:
    """Draw a layer whose dimensions are DeepSeek-V2's, but for a narrower hidden state."""

    def draw(*shape: int) -> Array:
        numbers: Array = rng.standard_normal(shape, np.float32) * np.float32(shape[-2] ** -0.5)
        return numbers

    return Layer(
        draw(heads, hidden, nope_dim),
        draw(heads, hidden, rope_dim),
        draw(hidden, latent_dim),
        draw(hidden, rope_dim),
        draw(heads, latent_dim, nope_dim),
        draw(heads, latent_dim, value_dim),
    )


def plain(layer: Layer, x: Array, queries: int) -> Array:
    """Keys and values of every head, made anew from all tokens; of the last `queries` tokens."""
    positions = np.arange(len(x))
    last, at = x[-queries:], positions[-queries:]
    latent = x @ layer.to_latent
    rope_key = rope(x @ layer.to_rope, positions, interleaved=True)
    query = np.concatenate(
        (last @ layer.q_nope, rope(last @ layer.q_rope, at, interleaved=True)), axis=-1
    )
    key = latent @ layer.up_key
    shared = np.broadcast_to(rope_key, (len(key), *rope_key.shape))
    key = np.concatenate((key, shared), axis=-1)
    return regard.attention(query, key, latent @ layer.up_value, causal=True, scale=layer.scale)


def absorbed(layer: Layer, x: Array, queries: int, cache: regard.LatentKVCache) -> Array:
    """Tokens that the cache does not have are appended; of the last `queries` tokens."""
    new, last = x[int(cache.lengths[0]) :], x[-queries:]
    cache.append(new @ layer.to_latent, new @ layer.to_rope, Rope(interleaved=True))
    query = (last @ layer.q_nope) @ layer.up_key.swapaxes(1, 2)
    latent = cache.attend(query, last @ layer.q_rope, scale=layer.scale)
    return latent @ layer.up_value


def main(words: list[str] | None = None) -> float:
    """Print the comparison; return the largest difference, relative to the largest number."""
    parser = argparse.ArgumentParser(description="Latent attention, plain and absorbed.")
    parser.add_argument("--heads", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--dtype", default="float32", help="of the cache")
    given = parser.parse_args(words)
    rng = np.random.default_rng(0)
    layer = random_layer(rng, given.heads)
    x = rng.standard_normal((given.tokens, layer.to_latent.shape[0]), np.float32)

    cache = regard.LatentKVCache(
        batch=1,
        latent_dim=layer.to_latent.shape[1],
        rope_dim=layer.to_rope.shape[1],
        capacity=given.tokens,
        dtype=given.dtype,
    )
    prompt = x[:-1]
    differences = []
    for name, tokens, queries in (("prompt", prompt, 4), ("one token more", x, 1)):
        expected = plain(layer, tokens, queries)
        got = absorbed(layer, tokens, queries, cache)
        differences.append(float(abs(got - expected).max() / abs(expected).max()))
        print(f"{name}: plain and absorbed differ by {differences[-1]:.1e}")

    heads, _, nope_dim = layer.q_nope.shape
    row = nope_dim + layer.q_rope.shape[2] + layer.up_value.shape[2]
    full = regard.KVCache(
        1,
        heads,
        nope_dim + layer.q_rope.shape[2],
        given.tokens,
        given.dtype,
        layer.up_value.shape[2],
    )
    print(f"a token of {heads} heads of {row} numbers: {full.nbytes // given.tokens} bytes")
    print(f"its latent row of {cache.head_dim} numbers: {cache.nbytes // given.tokens} bytes")
    return max(differences)


if __name__ == "__main__":
    main()
