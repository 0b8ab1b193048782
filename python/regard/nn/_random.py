"""Random weights, to begin a training with, by the names of state dicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard.nn._settings import Settings

Array: TypeAlias = NDArray[Any]


class _Draw:
    """Draws the arrays of layers."""

    def __init__(self, seed: int, dtype: str, features: int, settings: Settings) -> None:
        self.rng, self.dtype, self.features = np.random.default_rng(seed), dtype, features
        self.with_bias = settings.get("norm", "layer") == "layer"
        self.arrays: dict[str, Array] = {}

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.weight(f"{name}.weight", outputs, inputs)
        self.arrays[f"{name}.bias"] = np.zeros(outputs, self.dtype)

    def weight(self, name: str, outputs: int, inputs: int) -> None:
        bound = (6 / (inputs + outputs)) ** 0.5
        drawn = self.rng.uniform(-bound, bound, (outputs, inputs))
        self.arrays[name] = drawn.astype(self.dtype)

    def norm(self, name: str) -> None:
        self.arrays[f"{name}.weight"] = np.ones(self.features, self.dtype)
        if self.with_bias:
            self.arrays[f"{name}.bias"] = np.zeros(self.features, self.dtype)

    def attention(self, name: str, heads: int, kv_heads: int) -> None:
        rows = self.features + 2 * (self.features // heads) * kv_heads
        self.weight(f"{name}.in_proj_weight", rows, self.features)
        self.arrays[f"{name}.in_proj_bias"] = np.zeros(rows, self.dtype)
        self.linear(f"{name}.out_proj", self.features, self.features)

    def layer(
        self, name: str, attentions: Iterable[str], heads: int, kv_heads: int, hidden: int,
        gated: bool,
    ) -> None:  # fmt: skip
        number = 0
        for number, attention in enumerate(attentions, 1):
            self.attention(f"{name}.{attention}", heads, kv_heads)
            self.norm(f"{name}.norm{number}")
        self.linear(f"{name}.linear1", hidden, self.features)
        if gated:
            self.linear(f"{name}.gate", hidden, self.features)
        self.linear(f"{name}.linear2", self.features, hidden)
        self.norm(f"{name}.norm{number + 1}")


def _stack(
    attentions: tuple[str, ...], seed: int, layers: int, features: int, heads: int, hidden: int,
    kv_heads: int | None, gated: bool, final_norm: bool, dtype: str, settings: Settings,
) -> dict[str, Array]:  # fmt: skip
    if dtype not in ("float32", "float64"):
        raise ValueError(f"random: dtype is {dtype!r}.\n  Give 'float32' or 'float64'.")
    if heads < 1 or features % heads:
        raise ValueError(
            f"random: num_heads is {heads}, and features {features}.\n  Give a number of heads "
            "that divides the features."
        )
    draw = _Draw(seed, dtype, features, settings)
    for number in range(layers):
        draw.layer(f"layers.{number}", attentions, heads, kv_heads or heads, hidden, gated)
    if final_norm:
        draw.norm("norm")
    return draw.arrays


def encoder_arrays(*arguments: Any) -> dict[str, Array]:
    """Draw the arrays of an encoder."""
    return _stack(("self_attn",), *arguments)


def decoder_arrays(*arguments: Any) -> dict[str, Array]:
    """Draw the arrays of a decoder."""
    return _stack(("self_attn", "multihead_attn"), *arguments)
