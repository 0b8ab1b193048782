"""The operators ``torch.ops.regard``: what compiled and exported graphs contain.

=========================  ===================================================================
``attention``              output and LSE; packed pieces if their starts are among the tensors
``attention_backward``     gradients by the tensors that are asked for, in their order
``attention_tangent``      how output and LSE move with query, key and value
=========================  ===================================================================

``tensors`` are the arrays among the options, and ``options`` says which and the rest: see
`regard.torch._encoding`. Outputs are contiguous; inputs may have any strides, and are not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch

from regard.gradients import INPUTS
from regard.torch import _vmap
from regard.torch._compute import lse_dtype
from regard.torch._encoding import decode, names_in
from regard.torch._function import second_derivative
from regard.torch._shapes import output_shapes

Tensor: TypeAlias = torch.Tensor
Tensors: TypeAlias = list[torch.Tensor]

_SCHEMAS = {
    "attention": (
        "(Tensor query, Tensor key, Tensor value, Tensor[] tensors, str options) "
        "-> (Tensor out, Tensor lse)"
    ),
    "attention_backward": (
        "(Tensor? dout, Tensor? dlse, Tensor query, Tensor key, Tensor value, Tensor[] tensors, "
        "str options, Tensor out, Tensor lse, str[] wanted) -> Tensor[]"
    ),
    "attention_tangent": (
        "(Tensor query, Tensor key, Tensor value, Tensor? dquery, Tensor? dkey, Tensor? dvalue, "
        "Tensor[] tensors, str options) -> (Tensor dout, Tensor dlse)"
    ),
}
# Any strides are read where they lie, so a compiler need not copy to keep those of eager mode.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout)

for _name, _schema in _SCHEMAS.items():
    torch.library.define(f"regard::{_name}", _schema, tags=_TAGS)


@torch.library.impl("regard::attention", "cpu")
def _attention(
    query: Tensor, key: Tensor, value: Tensor, tensors: Tensors, options: str
) -> tuple[Tensor, Tensor]:
    call = decode(options, tensors)
    inputs = (query, key, value, *tensors[: len(call.names)])
    # Strides that do not depend on those of the inputs, which a compiler may change.
    return call.forward(inputs, contiguous=True)


@torch.library.register_fake("regard::attention")
def _attention_fake(
    query: Tensor, key: Tensor, value: Tensor, tensors: Tensors, options: str
) -> tuple[Tensor, Tensor]:
    return _empty((query, key, value), tensors, options)


def _empty(inputs: Sequence[Tensor], tensors: Tensors, options: str) -> tuple[Tensor, Tensor]:
    query = inputs[0]
    out, lse = output_shapes(inputs, tensors, options)
    return query.new_empty(out), query.new_empty(lse, dtype=lse_dtype(query))


@torch.library.impl("regard::attention_backward", "cpu")
def _backward(
    dout: Tensor | None,
    dlse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tensors: Tensors,
    options: str,
    out: Tensor,
    lse: Tensor,
    wanted: Sequence[str],
) -> Tensors:
    call = decode(options, tensors)
    inputs = (query, key, value, *tensors[: len(call.names)])
    return call.backward(inputs, out, lse, dout, dlse, wanted)


@torch.library.register_fake("regard::attention_backward")
def _backward_fake(
    dout: Tensor | None,
    dlse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tensors: Tensors,
    options: str,
    out: Tensor,
    lse: Tensor,
    wanted: Sequence[str],
) -> Tensors:
    return [
        x.new_empty(x.shape)
        for name, x in zip(
            (*INPUTS, *names_in(options)), (query, key, value, *tensors), strict=False
        )
        if name in wanted
    ]


@torch.library.impl("regard::attention_tangent", "cpu")
def _tangent(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dquery: Tensor | None,
    dkey: Tensor | None,
    dvalue: Tensor | None,
    tensors: Tensors,
    options: str,
) -> tuple[Tensor, Tensor]:
    call = decode(options, tensors)
    inputs = (query, key, value, *tensors[: len(call.names)])
    return call.tangent(inputs, (dquery, dkey, dvalue))


@torch.library.register_fake("regard::attention_tangent")
def _tangent_fake(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dquery: Tensor | None,
    dkey: Tensor | None,
    dvalue: Tensor | None,
    tensors: Tensors,
    options: str,
) -> tuple[Tensor, Tensor]:
    return _empty((query, key, value), tensors, options)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, tensors, options = inputs
    ctx.options = options
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(query, key, value, *tensors, *output)


def _gradients(ctx: Any, dout: Tensor | None, dlse: Tensor | None) -> tuple[Any, ...]:
    *inputs, out, lse = ctx.saved_tensors
    query, key, value, *tensors = inputs
    of_inputs, of_tensors = ctx.needs_input_grad[:3], ctx.needs_input_grad[3]
    needs = (*of_inputs, *(of_tensors or ()))
    names = (*INPUTS, *names_in(ctx.options))
    wanted = [name for name, needed in zip(names, needs, strict=False) if needed]
    if not wanted or (dout is None and dlse is None):
        return (None, None, None, [None] * len(tensors), None)
    found = iter(
        torch.ops.regard.attention_backward(
            dout, dlse, query, key, value, tensors, ctx.options, out, lse, wanted
        )
    )
    gradients = [next(found) if needed else None for needed in needs]
    return (*gradients[:3], gradients[3:], None)


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise second_derivative()


torch.library.register_autograd("regard::attention", _gradients, setup_context=_keep)
torch.library.register_autograd("regard::attention_backward", _refuse)
torch.library.register_autograd("regard::attention_tangent", _refuse)

torch.library.register_vmap("regard::attention", _vmap.attention)
torch.library.register_vmap("regard::attention_backward", _vmap.attention_backward)
torch.library.register_vmap("regard::attention_tangent", _vmap.attention_tangent)
