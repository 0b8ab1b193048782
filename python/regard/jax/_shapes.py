"""Shapes and dtypes of outputs and gradients, by those of the operands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from regard.gradients import INPUTS
from regard.jax._call import Call, computed_dtype


def batch_axes(operands: Mapping[str, Any]) -> tuple[int, ...]:
    """Batch axes of the output."""
    query = operands["query"].shape[:-3]
    if "block_table" in operands:
        return np.broadcast_shapes(query, operands["block_table"].shape[:-1])
    return np.broadcast_shapes(query, *(operands[name].shape[:-3] for name in ("key", "value")))


def outputs(operands: Mapping[str, Any], call: Call) -> dict[str, jax.core.ShapedArray]:
    """Output, in the caller's order of axes, and LSE."""
    query, batch = operands["query"], batch_axes(operands)
    rows = query.shape[-3:-1]
    of_lse = rows[::-1] if call.tokens_first else rows
    return {
        "out": jax.core.ShapedArray((*batch, *rows, operands["value"].shape[-1]), query.dtype),
        "lse": jax.core.ShapedArray((*batch, *of_lse), computed_dtype(query)),
    }


def gradients(
    operands: Mapping[str, Any], call: Call, wanted: tuple[str, ...]
) -> dict[str, jax.core.ShapedArray]:
    """Gradients before they are summed over what was broadcast, in the type that is computed in."""
    batch, computed = batch_axes(operands), computed_dtype(operands["query"])
    *_, heads, queries = outputs(operands, call)["lse"].shape
    shapes: dict[str, tuple[int, ...]] = {
        "alibi_slopes": (*batch, heads),
        "query_scale": (*batch, heads, queries),
        **{name: (*batch, *operands[name].shape[-3:]) for name in INPUTS},
    }
    return {
        name: jax.core.ShapedArray(shapes.get(name) or operands[name].shape, computed)
        for name in wanted
    }


def as_the_core_has(name: str, gradient: Any) -> Any:
    """Fold batch axes where the core counts batch elements."""
    kept = {"alibi_slopes": 1, "query_scale": 2}.get(name)
    if kept is None:
        return gradient
    split = len(gradient.shape) - kept
    shape = (math.prod(gradient.shape[:split]), *gradient.shape[split:])
    return jax.core.ShapedArray(shape, gradient.dtype)


def sum_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Sum over the axes that ``shape`` was broadcast along."""
    extra = x.ndim - len(shape)
    ones = tuple(axis for axis, n in enumerate(shape, extra) if n == 1 and x.shape[axis] != 1)
    axes = (*range(extra), *ones)
    return jnp.sum(x, axis=axes).reshape(shape) if axes else x
