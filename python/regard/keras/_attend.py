"""Attention of projected tensors, (batch, tokens, heads, dim), by the backend of Keras."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from regard.keras._masks import Masks

BACKENDS = ("jax", "numpy", "tensorflow", "torch")


def backend_attention() -> Callable[..., tuple[Any, Any]]:
    """Return the function that computes output and LSE on tensors of the backend."""
    name = keras.backend.backend()
    if name not in BACKENDS:
        raise NotImplementedError(
            f"regard.keras: Keras runs on {name}.\n  Set KERAS_BACKEND to one of "
            f"{', '.join(BACKENDS)} before Keras is imported."
        )
    function: Callable[..., tuple[Any, Any]] = importlib.import_module(
        f"regard.keras._on_{name}"
    ).attention
    return function


def attend(
    query: Any, key: Any, value: Any, masks: Masks, scale: float, dropout: float, generator: Any
) -> Any:
    """Compute attention over the second axis.

    Parameters
    ----------
    query : tensor, shape (B, T, N, H)
    key, value : tensor, shape (B, S, K, H)
        N is a multiple of K.
    masks : Masks
        The mask broadcasts to (B, N, T, S) once an axis of heads is put before its last two.
    scale, dropout : float
    generator : keras.random.SeedGenerator
        Asked only where weights are dropped.

    Returns
    -------
    tensor, shape (B, T, N, H)
        A query that the masks let see no key gives the mean of all values, as in Keras, where what
        is hidden has a large negative score.
    """
    mask = masks.mask
    if mask is not None:
        mask = ops.cast(mask, "bool")
        while len(mask.shape) < 4:
            mask = ops.expand_dims(mask, -3)
    seed = generator.next() if dropout > 0 else None
    out, lse = backend_attention()(
        query, key, value, mask, masks.causal, masks.window, scale, dropout, seed
    )
    if mask is None and (masks.window is None or query.shape[1] == key.shape[1]):
        return out
    unseen = ops.expand_dims(ops.transpose(lse == -math.inf, (0, 2, 1)), -1)
    means = ops.mean(value, axis=1, keepdims=True)
    means = ops.repeat(means, query.shape[2] // value.shape[2], axis=2)
    return ops.where(unseen, ops.cast(means, out.dtype), out)


def attend_over(
    axes: Sequence[int], query: Any, key: Any, value: Any, masks: Masks, **options: Any
) -> Any:
    """Compute attention over any axes of tensors (batch, ..., heads, dim), one sequence of tokens.

    Parameters
    ----------
    axes : sequence of int
        Those that are attended over.
    query, key, value : tensor
    masks : Masks
        The mask has the axes (batch ..., heads, axes of query ..., axes of key ...), from the last;
        those of batch and heads may be missing.
    **options
        Of `attend`.

    Returns
    -------
    tensor
        With the axes of query.
    """
    rank = len(query.shape)
    if rank == 4 and tuple(axes) == (1,):
        return attend(query, key, value, masks, **options)
    batch = [axis for axis in range(rank - 2) if axis not in axes]
    order = [*batch, *axes, rank - 2, rank - 1]
    flat = {}
    for name, x in (("query", query), ("key", key), ("value", value)):
        turned = ops.transpose(x, order)
        lead = [ops.shape(turned)[i] for i in range(rank - 2)]
        flat[name] = ops.reshape(
            turned, (math.prod(lead[: len(batch)]), math.prod(lead[len(batch) :]), *x.shape[-2:])
        )
    sizes = {name: [ops.shape(x)[i] for i in order] for name, x in (("q", query), ("k", key))}
    tokens = [sizes[x][len(batch) : -2] for x in "qk"]
    if masks.mask is not None:
        mask = ops.cast(masks.mask, "bool")
        while len(mask.shape) < len(batch) + 1 + 2 * len(axes):
            mask = ops.expand_dims(mask, -2 * len(axes) - 1)
        heads = mask.shape[len(batch)]
        whole = [*sizes["q"][: len(batch)], heads, *tokens[0], *tokens[1]]
        mask = ops.broadcast_to(mask, whole)
        shape = (math.prod(whole[: len(batch)]), heads, *(math.prod(n) for n in tokens))
        masks = masks._replace(mask=ops.reshape(mask, shape))
    out = attend(flat["query"], flat["key"], flat["value"], masks, **options)
    out = ops.reshape(out, (*sizes["q"][:-1], value.shape[-1]))
    return ops.transpose(out, [order.index(axis) for axis in range(rank)])
