"""A causal transformer over characters, and the gradient of its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import regard
from regard.nn.training import cross_entropy, cross_entropy_vjp

from .layers import ATTENTIONS, embedding, linear, rms_norm, split_heads, swiglu

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
            parameters |= {
                f"{i}.attention.norm": np.ones(c),
                f"{i}.attention.qkv": c**-0.5 * rng.standard_normal((c, 3 * c)),
                f"{i}.attention.out": small * c**-0.5 * rng.standard_normal((c, c)),
                f"{i}.mlp.norm": np.ones(c),
                f"{i}.mlp.in": c**-0.5 * rng.standard_normal((c, 2 * h)),
                f"{i}.mlp.out": small * h**-0.5 * rng.standard_normal((h, c)),
            }
        parameters["norm"] = np.ones(c)
        return {name: x.astype(dtype) for name, x in parameters.items()}


class Model:
    """What a shape and an attention compute of parameters and tokens.

    Positions enter by ALiBi alone, so texts may be longer than those of the training.

    Parameters
    ----------
    shape : Shape
    attention : {"regard", "numpy"}
    """

    def __init__(self, shape: Shape, attention: str = "regard") -> None:
        self.shape = shape
        self.attention = ATTENTIONS[attention]
        self.slopes = np.asarray(regard.alibi_slopes(shape.heads))

    def forward(
        self, parameters: Parameters, tokens: Array
    ) -> tuple[Array, Callable[[Array], Parameters]]:
        """Logits (batch, length, vocabulary) of tokens (batch, length), and the way back."""
        x, pull_embedding = embedding(tokens, parameters["embedding"])
        pulls = []
        for i in range(self.shape.layers):
            for branch in (self._attention, self._mlp):
                change, pull = branch(parameters, i, x)
                x = x + change
                pulls.append(pull)
        x, pull_norm = rms_norm(x, parameters["norm"])
        # The embedding is the last layer too: logits are products with its rows.
        logits, pull_logits = linear(x, parameters["embedding"].T)

        def pull_all(dlogits: Array) -> Parameters:
            dx, dlast = pull_logits(dlogits)
            dx, dnorm = pull_norm(dx)
            gradients = {"norm": dnorm}
            for pull in reversed(pulls):
                dbranch, own = pull(dx)
                dx = dx + dbranch
                gradients |= own
            gradients["embedding"] = pull_embedding(dx) + dlast.T
            return gradients

        return logits, pull_all

    def loss(self, parameters: Parameters, tokens: Array) -> float:
        """Mean loss over texts (batch, length + 1): each character from those before it."""
        logits, _ = self.forward(parameters, tokens[:, :-1])
        return cross_entropy(logits, tokens[:, 1:])

    def loss_and_gradients(self, parameters: Parameters, tokens: Array) -> tuple[float, Parameters]:
        """Loss, and its derivative by each parameter."""
        logits, pull = self.forward(parameters, tokens[:, :-1])
        loss, pull_loss = cross_entropy_vjp(logits, tokens[:, 1:])
        return loss, pull(pull_loss())

    def _attention(
        self, parameters: Parameters, layer: int, x: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
        name = f"{layer}.attention"
        heads = self.shape.heads
        x, pull_norm = rms_norm(x, parameters[f"{name}.norm"])
        qkv, pull_qkv = linear(x, parameters[f"{name}.qkv"])
        by_head, pull_attention = self.attention(*split_heads(qkv, heads), self.slopes)
        mixed = by_head.swapaxes(1, 2).reshape(x.shape)
        out, pull_out = linear(mixed, parameters[f"{name}.out"])

        def pull(dout: Array) -> tuple[Array, Parameters]:
            dmixed, dweight = pull_out(dout)
            dby_head = dmixed.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)
            dqkv = np.empty_like(qkv)
            pull_attention(dby_head, split_heads(dqkv, heads))
            dx, dqkv_weight = pull_qkv(dqkv)
            dx, dgain = pull_norm(dx)
            return dx, {
                f"{name}.norm": dgain, f"{name}.qkv": dqkv_weight, f"{name}.out": dweight
            }  # fmt: skip

        return out, pull

    def _mlp(
        self, parameters: Parameters, layer: int, x: Array
    ) -> tuple[Array, Callable[[Array], tuple[Array, Parameters]]]:
        name = f"{layer}.mlp"
        x, pull_norm = rms_norm(x, parameters[f"{name}.norm"])
        x, pull_in = linear(x, parameters[f"{name}.in"])
        x, pull_swiglu = swiglu(x)
        out, pull_out = linear(x, parameters[f"{name}.out"])

        def pull(dout: Array) -> tuple[Array, Parameters]:
            dx, dout_weight = pull_out(dout)
            dx, din_weight = pull_in(pull_swiglu(dx))
            dx, dgain = pull_norm(dx)
            return dx, {
                f"{name}.norm": dgain, f"{name}.in": din_weight, f"{name}.out": dout_weight
            }  # fmt: skip

        return out, pull
