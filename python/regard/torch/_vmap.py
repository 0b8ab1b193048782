"""What ``torch.vmap`` makes of the operators: one more batch axis, or a loop.

The axis goes in front of the batch axes where attention has a place for it: of query, key and
value, and of options that broadcast to the batch. Where it has none (numbers for heads, packed
pieces, pages, dropout, which draws by the element's place), the elements are computed one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from regard._call.options import BY_NAME, names
from regard.gradients import INPUTS
from regard.torch._compute import STARTS
from regard.torch._encoding import given, names_in
from regard.torch._shapes import output_shapes

Tensor: TypeAlias = torch.Tensor

# Axes that a kind of option has fewer than query, key and value together.
_FEWER = {"pairs": 0, "rows": 1, "lengths": 3}
# With one of these, a batch is something else than axes in front.
_ALONE = (*STARTS, "dropout", *names(lambda option: option.kind in ("pages", "frame")))


class _Axis:
    """The axis over which a call is mapped, and where it goes."""

    def __init__(self, size: int, inputs: Sequence[Tensor], dims: Sequence[int | None]) -> None:
        self.size = size
        logical = [x.dim() - (dim is not None) for x, dim in zip(inputs, dims, strict=True)]
        self.rank = max(3, *logical)

    def in_front(self, x: Tensor, dim: int | None, fewer: int = 0, always: bool = True) -> Tensor:
        """With the axis in front of all that a call may have; unless it is there, or not needed."""
        if dim is None:
            if not always:
                return x
            x, dim = x.expand(self.size, *x.shape), 0
        x = x.movedim(dim, 0)
        missing = self.rank - fewer - (x.dim() - 1)
        return x.reshape(self.size, *(1,) * missing, *x.shape[1:])


def attention(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    """Batch ``regard::attention``."""
    query, key, value, tensors, options = arguments
    if not _has_place(in_dims[3], tensors, options):
        return _loop(torch.ops.regard.attention, info, in_dims, arguments)
    axis = _Axis(info.batch_size, arguments[:3], in_dims[:3])
    inputs = [
        axis.in_front(query, in_dims[0]),  # always: the output has the axis if nothing else has
        axis.in_front(key, in_dims[1], always=False),
        axis.in_front(value, in_dims[2], always=False),
    ]
    moved = _tensors(axis, tensors, in_dims[3], options)
    result = torch.ops.regard.attention(*inputs, moved, options)
    shapes = _logical_shapes(arguments[:3], in_dims[:3], tensors, options)
    return tuple(x.reshape(axis.size, *shape) for x, shape in zip(result, shapes, strict=True)), (
        0,
        0,
    )


def attention_backward(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    """Batch ``regard::attention_backward``."""
    dout, dlse, query, key, value, tensors, options, out, lse, wanted = arguments
    known = names_in(options)
    of_heads = [name for name in wanted if name not in INPUTS and _fewer(name) is None]
    if of_heads or not _has_place(in_dims[5], tensors, options):
        return _loop(torch.ops.regard.attention_backward, info, in_dims, arguments)
    axis = _Axis(info.batch_size, (query, key, value), in_dims[2:5])
    inputs = [
        axis.in_front(x, dim) for x, dim in zip((query, key, value), in_dims[2:5], strict=True)
    ]
    moved = _tensors(axis, tensors, in_dims[5], options, wanted)
    shapes = output_shapes(inputs, moved, options)

    def of_output(x: Tensor | None, dim: int | None, shape: tuple[Any, ...]) -> Tensor | None:
        if x is None:
            return None
        x = x.expand(axis.size, *x.shape) if dim is None else x.movedim(dim, 0)
        return x.reshape(shape)

    gradients = torch.ops.regard.attention_backward(
        of_output(dout, in_dims[0], shapes[0]), of_output(dlse, in_dims[1], shapes[1]),
        *inputs, moved, options,
        of_output(out, in_dims[7], shapes[0]), of_output(lse, in_dims[8], shapes[1]), wanted,
    )  # fmt: skip
    dims = dict(zip((*INPUTS, *known), (*in_dims[2:5], *in_dims[5]), strict=False))
    given_as = dict(zip((*INPUTS, *known), (query, key, value, *tensors), strict=False))
    ordered = [name for name in given_as if name in wanted]
    results = [
        gradient.reshape(axis.size, *_without(given_as[name], dims[name]))
        for name, gradient in zip(ordered, gradients, strict=True)
    ]
    return results, [0] * len(results)


def attention_tangent(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
    """Batch ``regard::attention_tangent``."""
    tensors, options = arguments[6:]
    if not _has_place(in_dims[6], tensors, options):
        return _loop(torch.ops.regard.attention_tangent, info, in_dims, arguments)
    axis = _Axis(info.batch_size, arguments[:3], in_dims[:3])
    moving = [
        None if x is None else axis.in_front(x, dim)
        for x, dim in zip(arguments[:6], in_dims[:6], strict=True)
    ]
    moved = _tensors(axis, tensors, in_dims[6], options)
    result = torch.ops.regard.attention_tangent(*moving, moved, options)
    shapes = _logical_shapes(arguments[:3], in_dims[:3], tensors, options)
    return tuple(x.reshape(axis.size, *shape) for x, shape in zip(result, shapes, strict=True)), (
        0,
        0,
    )


def _fewer(name: str) -> int | None:
    return _FEWER.get(BY_NAME[name].kind) if name in BY_NAME else None


def _has_place(dims: Sequence[int | None], tensors: Sequence[Tensor], options: str) -> bool:
    """Whether one more batch axis says all of it."""
    known = names_in(options)
    if any(given(options, name) for name in _ALONE):
        return False
    mapped = [n for n, dim in enumerate(dims) if dim is not None]
    # Beyond the names are arrays of masks and position biases.
    return all(n < len(known) and _fewer(known[n]) is not None for n in mapped)


def _tensors(
    axis: _Axis,
    tensors: Sequence[Tensor],
    dims: Sequence[int | None],
    options: str,
    always: Sequence[str] = (),
) -> list[Tensor]:
    known = names_in(options)
    moved = list(tensors)
    for n, name in enumerate(known):
        fewer = _fewer(name)
        if fewer is not None:
            moved[n] = axis.in_front(tensors[n], dims[n], fewer, name in always)
    return moved


def _without(x: Tensor, dim: int | None) -> tuple[int, ...]:
    """Shape of one element."""
    return tuple(x.shape) if dim is None else (*x.shape[:dim], *x.shape[dim + 1 :])


def _logical_shapes(
    inputs: Sequence[Tensor], dims: Sequence[int | None], tensors: Sequence[Tensor], options: str
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    one = [
        torch.empty(_without(x, dim), device="meta") for x, dim in zip(inputs, dims, strict=True)
    ]
    return output_shapes(one, tensors, options)


def _loop(
    operator: Callable[..., Any], info: Any, in_dims: tuple[Any, ...], arguments: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Compute the elements one by one."""

    def element(x: Any, dim: Any, n: int) -> Any:
        if isinstance(dim, (list, tuple)):
            return [element(part, of, n) for part, of in zip(x, dim, strict=True)]
        return x if dim is None else x.select(dim, n)

    results = [
        operator(*(element(x, dim, n) for x, dim in zip(arguments, in_dims, strict=True)))
        for n in range(info.batch_size)
    ]
    stacked = [torch.stack(parts) for parts in zip(*results, strict=True)]
    dims = [0] * len(stacked)
    if isinstance(results[0], tuple):
        return tuple(stacked), tuple(dims)
    return stacked, dims
