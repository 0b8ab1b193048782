"""A batch of calls as one call: another batch axis in front.

The core broadcasts batch axes itself, so that what is the same for all calls is not repeated. What
has no batch axes (sinks, seeds, tables, pages) and what counts batch elements (dropout) is done
one call after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive

from regard.gradients import INPUTS
from regard.jax._call import TRAILING, Call, with_batch_axes

_ONE_BY_ONE = ("sinks", "position_bias")


def batched(
    primitive: Primitive,
    names_of: Callable[..., tuple[str, ...]],
    arrays: Any,
    axes: Any,
    *,
    call: Call,
    **params: Any,
) -> tuple[list[jax.Array], list[int]]:
    """Compute a batch of calls.

    Parameters
    ----------
    primitive : Primitive
    names_of : callable
        The names of its arrays, by its parameters.
    arrays, axes : sequence
        Axis of each that the calls are along, or None.
    call : Call
    **params
        Of the primitive, beside the call.

    Returns
    -------
    list of Array, list of int
        Results, along their first axis.
    """
    names = names_of(call, **params)
    moving = {name for name, axis in zip(names, axes, strict=True) if axis is not None}
    operands = {
        name: x if axis is None else jnp.moveaxis(x, axis, 0)
        for name, x, axis in zip(names, arrays, axes, strict=True)
    }
    if _is_one_by_one(call, moving, params.get("wanted", ())):

        def one(along: dict[str, jax.Array]) -> Any:
            return primitive.bind(*{**operands, **along}.values(), call=call, **params)

        results = jax.lax.map(one, {name: operands[name] for name in names if name in moving})
        return results, [0] * len(results)
    count = next(operands[name].shape[0] for name in names if name in moving)
    everywhere = {"out", "lse", "dout", "dlse"}
    if not moving.intersection(INPUTS):
        everywhere.add("query")  # the batch axes are those of query, key and value
    if "bias" in params.get("wanted", ()):
        everywhere.add("bias")  # its gradient has its own axes
    batch = max(operands[name].ndim - (name in moving) - 3 for name in INPUTS)
    for name, x in operands.items():
        if name in moving:
            rest = x.shape[1:]
            missing = max(batch + TRAILING[name] - len(rest), 0)
            operands[name] = x.reshape((count, *(1,) * missing, *rest))
        elif name in everywhere:
            x = with_batch_axes(x, batch + TRAILING[name])
            operands[name] = jnp.broadcast_to(x, (count, *x.shape))
    results = primitive.bind(*operands.values(), call=call, **params)
    return results, [0] * len(results)


def _is_one_by_one(call: Call, moving: set[str], wanted: tuple[str, ...]) -> bool:
    return (
        "dropout" in dict(call.attributes)
        or "block_table" in call.operands
        or not moving.issubset(TRAILING)
        or any(name in wanted for name in _ONE_BY_ONE)
    )
