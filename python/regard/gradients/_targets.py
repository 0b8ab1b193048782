"""Where gradients go: arrays that the core adds to, and the way from them to the inputs' shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard._arrays import check_out, coerce
from regard._bfloat16 import rounded
from regard._call.options import names
from regard.gradients._call import DifferentiableCall
from regard.gradients._result import INPUTS

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]

_NUMBERS = names(lambda option: option.gradient == "numbers")


@dataclass(frozen=True)
class Target:
    """An array that the core adds a gradient to, and what becomes of it."""

    array: NDArray[Any]
    finish: Callable[[], NDArray[Any]]


def target_for(
    call: DifferentiableCall, name: str, buffer: Array | None, accumulate: bool
) -> Target:
    """Where the gradient of an input goes."""
    shape, dtype = _shape_and_dtype(call, name)
    if buffer is not None:
        # Gradients of 16-bit inputs may as well be kept as they are computed.
        dtypes = {dtype, call.computed} if dtype.itemsize == 2 else {dtype}
        _check_buffer(name, buffer, shape, dtypes)
    of_array = name in INPUTS
    whole = _whole(call, getattr(call, name)) if of_array else shape
    numbers = name in _NUMBERS
    own = np.zeros(shape, call.computed) if buffer is None else buffer
    if not numbers and np.prod(whole) == np.prod(shape) and own.dtype == call.computed:
        # Axes of one are put in front: never a copy, whatever the strides.
        view = (call.by_head(own) if of_array else own).reshape(whole)
        return Target(view, lambda: rounded(own, dtype) if buffer is None else own)
    if numbers:
        target, to_shape = _of_numbers(call, name, shape)
    else:
        target = np.zeros(whole, call.computed)

        def to_shape(total: Array) -> Array:
            return _from_whole(call, total, getattr(call, name)) if of_array else total

    def finish() -> Array:
        total = to_shape(target)
        if buffer is None:
            return rounded(total, dtype)
        if accumulate:
            total = total + rounded(buffer, total.dtype)
        buffer[...] = rounded(total, buffer.dtype)
        return buffer

    return Target(target, finish)


def check_apart(
    call: DifferentiableCall,
    buffers: dict[str, Array],
    others: tuple[tuple[str, Array | None], ...],
) -> None:
    """Refuse buffers that share memory with each other or with what is read."""
    arrays = [(name, x) for name, x in others if x is not None]
    arrays += [("query", call.query), ("key", call.key), ("value", call.value)]
    arrays += [(n, x) for n, x in call.options.items() if isinstance(x, np.ndarray)]
    for name, buffer in buffers.items():
        check_out(buffer, tuple(arrays), f"out[{name!r}]")
        arrays.append((f"out[{name!r}]", buffer))


def _whole(call: DifferentiableCall, like: Array) -> tuple[int, ...]:
    """Shape of an input with all batch axes, as the core has it."""
    rank3 = (1,) * (3 - like.ndim) + like.shape
    return rank3 if call.packed else (*call.batch(), *rank3[-3:])


def _from_whole(call: DifferentiableCall, total: Array, like: Array) -> Array:
    """Sum over the batch axes that an input was broadcast along, and lay it out as the caller's."""
    rank3 = (1,) * (3 - like.ndim) + like.shape
    return call.as_given(_sum_to(total, rank3).reshape(like.shape))


def _shape_and_dtype(call: DifferentiableCall, name: str) -> tuple[tuple[int, ...], Any]:
    """Those of an input and its gradient, as the caller sees them."""
    if name in INPUTS:
        array = call.as_given(getattr(call, name))
        return array.shape, array.dtype
    given = call.given[name]
    array = given.table if name == "position_bias" else coerce(given, name, "input")
    return array.shape, array.dtype if array.dtype.kind not in "iub" else np.dtype(np.float64)


def _of_numbers(
    call: DifferentiableCall, name: str, shape: tuple[int, ...]
) -> tuple[Array, Callable[[Array], Array]]:
    """Make a float64 array for the core, and what brings it into the input's shape."""
    heads = call.query.shape[-3] if call.query.ndim > 2 else 1
    if name == "sinks":
        return np.zeros(heads), lambda total: _sum_to(total, shape)
    if name == "alibi_slopes":
        batch = (
            (len(np.asarray(call.options["cu_seqlens_q"])) - 1,) if call.packed else call.batch()
        )
        whole = np.zeros((int(np.prod(batch)), heads))
        return whole, lambda total: _sum_to(total.reshape(*batch, heads), shape)
    if name == "query_scale":
        queries = call.query.shape[-2] if call.query.ndim > 1 else 1
        rows = (heads, queries) if call.packed else (*call.batch(), heads, queries)
        whole = np.zeros(rows if call.packed else (int(np.prod(call.batch())), heads, queries))
        return whole, lambda total: _sum_to(total.reshape(rows), shape)
    bias = call.given["position_bias"]
    table = call.options["position_bias"][0]
    return np.zeros(table.shape), bias.from_lowered


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes that `shape` was broadcast along."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    total: Array = x.sum(axis=ones, keepdims=True)
    return total


def _check_buffer(
    name: str, buffer: Array, shape: tuple[int, ...], dtypes: set[np.dtype[Any]]
) -> None:
    if buffer.shape != shape:
        raise ValueError(
            f"attention: out[{name!r}] has shape {buffer.shape}; {name} has {shape}.\n  A gradient "
            "has the shape of its input."
        )
    if not buffer.flags.writeable:
        raise ValueError(
            f"attention: out[{name!r}] is read-only.\n  Give an array that can be written."
        )
    if buffer.dtype not in dtypes:
        raise TypeError(
            f"attention: out[{name!r}] has dtype {buffer.dtype}; the gradient is "
            f"{' or '.join(map(str, dtypes))}.\n  Give an array of that dtype."
        )
