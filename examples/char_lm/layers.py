"""Layers with gradients written by hand.

Each returns its output and a function that pulls derivatives of the loss by the output back to
its inputs, in the order of the arguments: the form of `regard.attention_vjp`. Arrays keep their
dtype, so that gradients can be checked in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard

Array = NDArray[Any]

EPSILON = 1e-5


def embedding(tokens: Array, table: Array) -> tuple[Array, Callable[[Array], Array]]:
    """Rows of a table (vocabulary, channels); the gradient is that by the table."""

    def pull(dout: Array) -> Array:
        # A product with the one-hot matrix, since the vocabulary is small: no scattered sums.
        one_hot = np.zeros((len(table), tokens.size), table.dtype)
        one_hot[tokens.ravel(), np.arange(tokens.size)] = 1
        return one_hot @ dout.reshape(tokens.size, -1)

    return table[tokens], pull


def linear(x: Array, weight: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """X @ weight, for weight (inputs, outputs)."""

    def pull(dout: Array) -> tuple[Array, Array]:
        rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
        return (drows @ weight.T).reshape(x.shape), rows.T @ drows

    return (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], -1), pull


def rms_norm(x: Array, gain: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """X / sqrt(mean of squares) * gain (Zhang and Sennrich 2019)."""
    channels = len(gain)
    squares = np.einsum("...i,...i->...", x, x)[..., None]
    inverse = 1 / np.sqrt(squares / channels + x.dtype.type(EPSILON))
    unit = x * inverse

    def pull(dout: Array) -> tuple[Array, Array]:
        dgain = np.einsum("ni,ni->i", dout.reshape(-1, channels), unit.reshape(-1, channels))
        dx = dout * gain
        dx -= unit * (np.einsum("...i,...i->...", dx, unit)[..., None] / channels)
        dx *= inverse
        return dx, dgain

    return unit * gain, pull


def swiglu(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """silu(a) * b for x = (a, b) side by side (Shazeer 2020)."""
    a, b = np.split(x, 2, axis=-1)
    sigmoid = np.tanh(0.5 * a)  # which cannot overflow
    sigmoid += 1
    sigmoid *= 0.5
    silu = a * sigmoid

    def pull(dout: Array) -> Array:
        dx = np.empty_like(x)
        da, db = np.split(dx, 2, axis=-1)
        np.multiply(dout, silu, out=db)
        slope = 1 - sigmoid
        slope *= silu
        slope += sigmoid
        slope *= b
        np.multiply(slope, dout, out=da)
        return dx

    return silu * b, pull


Attention = Callable[[Array, Array, Array, Array], tuple[Array, Callable[[Array, Array], None]]]


def split_heads(qkv: Array, heads: int) -> Array:
    """View (batch, length, 3 * channels) as query, key, value (3, batch, heads, length, dim)."""
    batch, length, width = qkv.shape
    return qkv.reshape(batch, length, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)


def regard_attention(
    query: Array, key: Array, value: Array, slopes: Array
) -> tuple[Array, Callable[[Array, Array], None]]:
    """Causal attention with ALiBi by regard; derivatives are written into views."""
    out, vjp = regard.attention_vjp(query, key, value, causal=True, alibi_slopes=slopes)

    def pull(dout: Array, into: Array) -> None:
        vjp(dout, out={"query": into[0], "key": into[1], "value": into[2]})

    return out, pull


def numpy_attention(
    query: Array, key: Array, value: Array, slopes: Array
) -> tuple[Array, Callable[[Array, Array], None]]:
    """Compute the same by the definition, which keeps all weights."""
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


ATTENTIONS: dict[str, Attention] = {"regard": regard_attention, "numpy": numpy_attention}
