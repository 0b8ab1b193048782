"""A causal transformer over characters, and the gradient of its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import regard
from regard import nn
from regard.nn.training import cross_entropy, cross_entropy_vjp

from .attention import AttentionByDefinition

Array = NDArray[Any]
Parameters = dict[str, Array]


@dataclass(frozen=True)
class Shape:
    """Sizes of a model."""

    vocabulary: int
    layers: int = 4
    channels: int = 128
    heads: int = 4
    hidden: int = 352  # of the SwiGLU: 8/3 of the channels, as three matrices are to cost two

    def parameters(self, seed: int, dtype: DTypeLike = np.float32) -> Parameters:
        """Random weights: normal, the last of each branch smaller, as there are many branches."""
        rng = np.random.default_rng(seed)
        c, h = self.channels, self.hidden
        small = (2 * self.layers) ** -0.5
        parameters = {"embedding": 0.02 * rng.standard_normal((self.vocabulary, c))}
        for i in range(self.layers):
            layer, attention = f"layers.{i}", f"layers.{i}.self_attn"
            parameters |= {
                f"{layer}.norm1.weight": np.ones(c),
                f"{attention}.in_proj_weight": c**-0.5 * rng.standard_normal((3 * c, c)),
                f"{attention}.out_proj.weight": small * c**-0.5 * rng.standard_normal((c, c)),
                f"{layer}.norm2.weight": np.ones(c),
                f"{layer}.gate.weight": c**-0.5 * rng.standard_normal((h, c)),
                f"{layer}.linear1.weight": c**-0.5 * rng.standard_normal((h, c)),
                f"{layer}.linear2.weight": small * h**-0.5 * rng.standard_normal((c, h)),
            }
        parameters["norm.weight"] = np.ones(c)
        return {name: x.astype(dtype) for name, x in parameters.items()}


class Model:
    """What a shape and an attention compute of parameters and tokens.

    Positions enter by ALiBi alone, so texts may be longer than those of the training. The embedding
    is the last layer too: logits are products with its rows.

    Parameters
    ----------
    shape : Shape
    attention : {"regard", "numpy"}
    """

    def __init__(self, shape: Shape, attention: str = "regard") -> None:
        self.shape, self.attention = shape, attention
        self.slopes = np.asarray(regard.alibi_slopes(shape.heads))

    def layers(
        self, parameters: Parameters
    ) -> tuple[nn.Embedding, nn.TransformerEncoder, nn.Linear]:
        """Make the layers of their parameters."""
        own = {name: x for name, x in parameters.items() if name != "embedding"}
        encoder = nn.TransformerEncoder.from_state_dict(
            own, num_heads=self.shape.heads, activation="silu", norm_first=True, norm="rms",
            options={"causal": True, "alibi_slopes": self.slopes},
        )  # fmt: skip
        if self.attention == "numpy":
            for layer in encoder.layers:
                layer.self_attn = AttentionByDefinition(**vars(layer.self_attn))
        table = parameters["embedding"]
        return nn.Embedding(table), encoder, nn.Linear(table)

    def logits(self, parameters: Parameters, tokens: Array) -> Array:
        """Logits (batch, length, vocabulary) of tokens (batch, length)."""
        embedding, encoder, last = self.layers(parameters)
        return last(encoder(embedding(tokens)))

    def loss(self, parameters: Parameters, tokens: Array) -> float:
        """Mean loss over texts (batch, length + 1): each character from those before it."""
        return cross_entropy(self.logits(parameters, tokens[:, :-1]), tokens[:, 1:])

    def loss_and_gradients(self, parameters: Parameters, tokens: Array) -> tuple[float, Parameters]:
        """Loss, and its derivative by each parameter."""
        embedding, encoder, last = self.layers(parameters)
        x, back_embedding = embedding.vjp(tokens[:, :-1])
        x, back_encoder = encoder.vjp(x)
        logits, back_last = last.vjp(x)
        loss, back_loss = cross_entropy_vjp(logits, tokens[:, 1:])
        by_last = back_last(back_loss())
        by_encoder = back_encoder(by_last.x)
        by_embedding = back_embedding(by_encoder.x)
        shared = by_embedding.parameters["weight"] + by_last.parameters["weight"]
        return loss, {"embedding": shared, **by_encoder.parameters}
