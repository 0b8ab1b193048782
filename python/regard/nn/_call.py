"""One call of an attention layer: its heads, its options, positions, and attention itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._attention import attention
from regard._call.options import RESULT
from regard._varlen import varlen_attention
from regard.gradients import Vjp, attention_vjp, varlen_attention_vjp
from regard.nn._packing import as_offsets

if TYPE_CHECKING:
    from regard.positions import Rope

Array: TypeAlias = NDArray[Any]


def by_head(columns: Array, head_dim: int) -> Array:
    """View (..., heads * head_dim) as (..., heads, head_dim)."""
    return columns.reshape(*columns.shape[:-1], -1, head_dim)


def layout_of(x: Array) -> str:
    """Name the axes of x (batch, tokens, ...) or (tokens, ...) with its heads apart."""
    return "BSHD" if x.ndim == 4 else "SHD"


def check_options(options: dict[str, Any]) -> None:
    """Refuse what the layer decides.

    Raises
    ------
    TypeError
        It is given.
    """
    for name in (*RESULT, "layout"):
        if name in options:
            raise TypeError(
                f"MultiHeadAttention: there is no option {name}.\n  The layer decides how its "
                "arrays lie and what is returned."
            )


def cuts(
    query: Array, key: Array, offsets: ArrayLike | None, of_memory: ArrayLike | None, cross: bool
) -> tuple[Array, Array] | None:
    """Offsets of queries and keys, if rows are packed."""
    if offsets is None and of_memory is None:
        return None
    if offsets is None or cross != (of_memory is not None):
        raise ValueError(
            "MultiHeadAttention: offsets and memory_offsets are for packed rows, of x and of a "
            "memory.\n  Give offsets alone without a memory, and both with one."
        )
    queries = as_offsets(offsets, "offsets", query)
    return queries, (queries if of_memory is None else as_offsets(of_memory, "memory_offsets", key))


def places(x: Array, offsets: Array | None, positions: ArrayLike | None) -> Array:
    """Positions of the tokens of x, as they broadcast to (..., heads, tokens)."""
    if positions is not None:
        array = np.asarray(positions)
        return array[:, np.newaxis] if array.ndim == 2 else array
    if offsets is None:
        return np.arange(x.shape[-3])
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    result: Array = np.arange(offsets[-1]) - starts
    return result


def attend(
    heads: tuple[Array, Array, Array],
    offsets: tuple[Array, Array] | None,
    options: dict[str, Any],
) -> Array:
    """Attention of (..., tokens, heads, head_dim), or of packed rows of that form."""
    query, _, value = heads
    if offsets is None:
        out = np.empty((*query.shape[:-1], value.shape[-1]), query.dtype)
        attention(*heads, layout=layout_of(query), out=out, **options)
        return out
    packed: Array = varlen_attention(*heads, *offsets, **options)
    return packed


def attend_vjp(
    heads: tuple[Array, Array, Array],
    offsets: tuple[Array, Array] | None,
    options: dict[str, Any],
) -> tuple[Array, Vjp]:
    """Compute the same, and return its way back."""
    if offsets is None:
        return attention_vjp(*heads, layout=layout_of(heads[0]), **options)
    return varlen_attention_vjp(*heads, *offsets, **options)


def turn(rope: Rope | None, x: Array, positions: Array) -> Array:
    """Turn (..., tokens, heads, head_dim) by rotary positions, if there are any."""
    return x if rope is None else rope(x, positions, layout_of(x))


def turn_back(rope: Rope | None, dx: Array, positions: Array) -> None:
    """Turn derivatives back, in place: the rotation is orthogonal, up to its factor."""
    if rope is not None:
        dx[...] = rope(dx, -positions, layout_of(dx))
