"""Attention as primitives of JAX, which jit, vmap and derivatives in both directions follow.

=====================  =======================================================================
``attention_p``        output and LSE
``tangent_p``          how they move with the inputs; linear in the moves, and so transposable
``backward_p``         its transpose: gradients over all batch axes, as the core computes them
=====================  =======================================================================

The derivative of ``attention_p`` is ``tangent_p``, which is what `jax.custom_jvp` would say; unlike
with `jax.custom_vjp` there are both directions, and only what moves is computed. Each becomes one
call of the core in the compiled program.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from regard._adapters import refuse_derivatives
from regard._call.options import names
from regard.gradients import INPUTS, NAMES
from regard.jax import _shapes, _vmap
from regard.jax._call import Call, computed_dtype
from regard.jax._targets import call_target

_WITHOUT_DERIVATIVES = names(lambda option: option.gradient == "refused")

attention_p = Primitive("regard_attention")
tangent_p = Primitive("regard_attention_tangent")
backward_p = Primitive("regard_attention_backward")


def _lower_attention(*arrays: jax.Array, call: Call) -> list[jax.Array]:
    operands = dict(zip(call.operands, arrays, strict=True))
    found = call_target("attention", call, operands, _shapes.outputs(operands, call))
    return [found["out"], found["lse"]]


def _lower_tangent(*arrays: jax.Array, call: Call, moved: tuple[str, ...]) -> list[jax.Array]:
    for name in moved:
        if name not in INPUTS:
            raise NotImplementedError(
                f"attention: there is no forward mode for {name}.\n  Use stop_gradient of it, or "
                "reverse mode."
            )
    count = len(call.operands)
    operands = dict(zip(call.operands, arrays[:count], strict=True))
    computed = computed_dtype(operands["query"])
    whole = _shapes.gradients(operands, call, moved)
    moves = {
        f"d{name}": jnp.broadcast_to(x.astype(computed), whole[name].shape)
        for name, x in zip(moved, arrays[count + 2 :], strict=True)
    }
    of_outputs = _shapes.outputs(operands, call)
    results = {**of_outputs, **{f"d{name}": x for name, x in of_outputs.items()}}
    found = call_target("tangent", call, {**operands, **moves}, results)
    return [found["dout"], found["dlse"]]


def _lower_backward(
    *arrays: jax.Array, call: Call, wanted: tuple[str, ...], of_lse: bool
) -> list[jax.Array]:
    operands = dict(zip(backward_operands(call, of_lse), arrays, strict=True))
    whole = _shapes.gradients(operands, call, wanted)
    results = {name: _shapes.as_the_core_has(name, x) for name, x in whole.items()}
    found = call_target("backward", call, operands, results)
    return [found[name].reshape(x.shape) for name, x in whole.items()]


def backward_operands(call: Call, of_lse: bool) -> tuple[str, ...]:
    """Names of the arrays that the backward pass reads."""
    return (*call.operands, "out", "lse", "dout", *(("dlse",) if of_lse else ()))


def _attention_avals(*arrays: Any, call: Call) -> list[Any]:
    return list(_shapes.outputs(dict(zip(call.operands, arrays, strict=True)), call).values())


def _tangent_avals(*arrays: Any, call: Call, moved: tuple[str, ...]) -> list[Any]:
    return _attention_avals(*arrays[: len(call.operands)], call=call)


def _backward_avals(*arrays: Any, call: Call, wanted: tuple[str, ...], of_lse: bool) -> list[Any]:
    operands = dict(zip(call.operands, arrays, strict=False))
    return list(_shapes.gradients(operands, call, wanted).values())


def _attention_jvp(primals: Any, tangents: Any, *, call: Call) -> tuple[list[Any], list[Any]]:
    out, lse = attention_p.bind(*primals, call=call)
    moves = {
        name: move
        for name, move in zip(call.operands, tangents, strict=True)
        if not isinstance(move, ad.Zero)
    }
    refuse_derivatives(name for name in _WITHOUT_DERIVATIVES if name in call.operands)
    for name in moves.keys() - set(NAMES):
        raise ValueError(f"attention: there is no gradient by {name}.\n  Use stop_gradient of it.")
    moved = tangent_p.bind(*primals, out, lse, *moves.values(), call=call, moved=tuple(moves))
    return [out, lse], moved


def _tangent_jvp(
    primals: Any, tangents: Any, *, call: Call, moved: tuple[str, ...]
) -> tuple[list[Any], list[Any]]:
    fixed = len(call.operands) + 2
    if not all(isinstance(x, ad.Zero) for x in tangents[:fixed]):
        raise second_derivative()
    moves = {
        name: x
        for name, x in zip(moved, tangents[fixed:], strict=True)
        if not isinstance(x, ad.Zero)
    }
    return (
        tangent_p.bind(*primals, call=call, moved=moved),
        tangent_p.bind(*primals[:fixed], *moves.values(), call=call, moved=tuple(moves)),
    )


def _tangent_transpose(
    cotangents: Any, *arrays: Any, call: Call, moved: tuple[str, ...]
) -> list[Any]:
    fixed = len(call.operands) + 2
    if any(ad.is_undefined_primal(x) for x in arrays[:fixed]):
        raise second_derivative()
    inputs = [x.aval for x in arrays[fixed:]]
    dout, dlse = cotangents
    of_lse = not isinstance(dlse, ad.Zero)
    given = [ad.instantiate_zeros(dout), *((dlse,) if of_lse else ())]
    gradients = backward_p.bind(*arrays[:fixed], *given, call=call, wanted=moved, of_lse=of_lse)
    return [None] * fixed + [
        _shapes.sum_to(x, aval.shape).astype(aval.dtype)
        for x, aval in zip(gradients, inputs, strict=True)
    ]


def _backward_jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    raise second_derivative()


def second_derivative() -> NotImplementedError:
    """Say that there are none."""
    return NotImplementedError(
        "attention: there are no derivatives of derivatives.\n  For products with them see "
        "Hessian-vector products in the guide."
    )


@lru_cache(maxsize=4096)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(partial(primitive.bind, **dict(params)))
    return compiled


def _define(primitive: Primitive, lower: Callable[..., Any], avals: Callable[..., Any]) -> None:
    primitive.multiple_results = True
    primitive.def_impl(
        lambda *arrays, **params: _compiled(primitive, tuple(params.items()))(*arrays)
    )
    primitive.def_abstract_eval(avals)
    mlir.register_lowering(primitive, mlir.lower_fun(lower, multiple_results=True), platform="cpu")


_define(attention_p, _lower_attention, _attention_avals)
_define(tangent_p, _lower_tangent, _tangent_avals)
_define(backward_p, _lower_backward, _backward_avals)
ad.primitive_jvps.update(
    {attention_p: _attention_jvp, tangent_p: _tangent_jvp, backward_p: _backward_jvp}
)
ad.primitive_transposes.update({tangent_p: _tangent_transpose})
_NAMES: dict[Primitive, Callable[..., tuple[str, ...]]] = {
    attention_p: lambda call: call.operands,
    tangent_p: lambda call, moved: (*call.operands, "out", "lse", *(f"d{x}" for x in moved)),
    backward_p: lambda call, wanted, of_lse: backward_operands(call, of_lse),
}
for _primitive, _names_of in _NAMES.items():
    # By its name: the stand-in for JAX that documentation is made with takes no items.
    batching.primitive_batchers.__setitem__(
        _primitive, partial(_vmap.batched, _primitive, _names_of)
    )
