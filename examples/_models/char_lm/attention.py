"""Multi-head attention by its definition in NumPy, for comparison: it keeps all weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard import nn

Array = NDArray[Any]


def split_heads(qkv: Array, heads: int) -> Array:
    """View (batch, length, 3 * channels) as query, key, value (3, batch, heads, length, dim)."""
    batch, length, width = qkv.shape
    return qkv.reshape(batch, length, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)


def definition(
    query: Array, key: Array, value: Array, slopes: Array
) -> tuple[Array, Callable[[Array, Array], None]]:
    """Causal attention with ALiBi; derivatives are written into an array of all three."""
    length, dim = query.shape[-2:]
    scale = query.dtype.type(dim**-0.5)
    distance = np.arange(length)[:, None] - np.arange(length)
    bias = np.where(distance < 0, -np.inf, -slopes[:, None, None] * distance).astype(query.dtype)
    scores = scale * (query @ key.swapaxes(-1, -2)) + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)

    def pull(dout: Array, into: Array) -> None:
        dweights = dout @ value.swapaxes(-1, -2)
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True)) * scale
        into[0] = dscores @ key
        into[1] = dscores.swapaxes(-1, -2) @ query
        into[2] = weights.swapaxes(-1, -2) @ dout

    return weights @ value, pull


class AttentionByDefinition(nn.MultiHeadAttention):
    """The layer of `regard.nn`, with attention and its gradient by `definition`.

    Its options have to be causal and alibi_slopes.
    """

    def __call__(self, x: Any, **_: Any) -> Array:
        """Attend."""
        return self.vjp(x)[0]

    def vjp(self, x: Any, **_: Any) -> Any:
        """Attend, and return the way back."""
        qkv, back_in = nn.Linear(self.in_proj_weight).vjp(x)
        slopes = self.options["alibi_slopes"]
        by_head, pull = definition(*split_heads(qkv, self.num_heads), slopes)
        out, back_out = self.out_proj.vjp(by_head.swapaxes(1, 2).reshape(x.shape))

        def back(dout: Array, wrt: Any = ()) -> nn.LayerGradients:
            last = back_out(dout)
            dqkv = np.empty_like(qkv)
            dby_head = last.x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)
            pull(dby_head, split_heads(dqkv, self.num_heads))
            first = back_in(dqkv)
            return nn.LayerGradients(
                first.x,
                {
                    "in_proj_weight": first.parameters["weight"],
                    "out_proj.weight": last.parameters["weight"],
                },
            )

        return out, back
