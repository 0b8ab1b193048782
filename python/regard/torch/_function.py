"""Attention as a function that autograd and ``torch.func`` follow.

On plain tensors it computes at once; under a transform of ``torch.func`` it calls the operators,
which know what a batch of calls is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch.autograd import forward_ad

from regard.gradients import INPUTS
from regard.torch._compute import Call
from regard.torch._encoding import encode

_Optional: TypeAlias = "torch.Tensor | None"


class Attention(torch.autograd.Function):
    """Output and LSE of a call and its tensors, with derivatives in both directions."""

    # torch.func.vmap goes through the operators, which have rules of their own.
    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not transformed():
            return call.forward(tensors)
        result: tuple[torch.Tensor, torch.Tensor] = torch.ops.regard.attention(
            *encoded(call, tensors)
        )
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any]) -> None:
        ctx.call, *tensors = inputs
        ctx.set_materialize_grads(False)  # what does not move is None, and takes no time
        # By autograd, which notices when a tensor is changed before the backward pass.
        ctx.save_for_backward(*tensors, *output)
        ctx.save_for_forward(*tensors, *output)  # the same, or vmap takes the ones for the others

    @staticmethod
    def backward(ctx: Any, dout: _Optional, dlse: _Optional) -> tuple[_Optional, ...]:
        _, *needs = ctx.needs_input_grad
        if dout is None and dlse is None:
            return None, *(None for _ in needs)
        *tensors, out, lse = ctx.saved_tensors
        names = (*INPUTS, *ctx.call.names)
        # No list, which torch.func would take for arguments of their own.
        wanted = frozenset(name for name, needed in zip(names, needs, strict=True) if needed)
        if torch.is_grad_enabled() or transformed():  # somebody may differentiate it, or map it
            found = Backward.apply(ctx.call, wanted, dout, dlse, out, lse, *tensors)
        else:
            found = ctx.call.backward(tensors, out, lse, dout, dlse, wanted)
        gradients = iter(found)
        return None, *(next(gradients) if needed else None for needed in needs)

    @staticmethod
    def jvp(ctx: Any, _: None, *moves: Any) -> tuple[torch.Tensor, torch.Tensor]:
        for name, move in zip(ctx.call.names, moves[len(INPUTS) :], strict=True):
            if move is not None:
                raise NotImplementedError(
                    f"attention: there is no forward mode for {name}.\n  Detach it, or use "
                    "gradients."
                )
        *tensors, _, _ = ctx.saved_tensors
        directions = moves[: len(INPUTS)]
        result: tuple[torch.Tensor, torch.Tensor]
        if transformed():
            query, key, value, rest, text = encoded(ctx.call, tensors)
            result = torch.ops.regard.attention_tangent(query, key, value, *directions, rest, text)
        else:
            result = ctx.call.tangent(tensors, directions)
        return result


class Backward(torch.autograd.Function):
    """Gradients of a call, which have no derivatives themselves, and say so."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        call: Call,
        wanted: frozenset[str],
        dout: _Optional,
        dlse: _Optional,
        out: torch.Tensor,
        lse: torch.Tensor,
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        if transformed():
            given = encoded(call, tensors)
            return tuple(
                torch.ops.regard.attention_backward(dout, dlse, *given, out, lse, sorted(wanted))
            )
        return tuple(call.backward(tensors, out, lse, dout, dlse, wanted))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        ctx.save_for_backward(*output)  # not used; vmap of torch.func relies on it
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise second_derivative()

    @staticmethod
    def jvp(ctx: Any, *moves: Any) -> Any:
        raise second_derivative()


def differentiable(
    call: Call, tensors: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and LSE, as part of the graphs of autograd and of the transforms around."""
    # Function.apply looks up the signature of forward each time, which takes longer than all else
    # of a small call, and is only of use to torch.func.
    function: Any = Attention if transformed() else super(torch.autograd.Function, Attention)
    result: tuple[torch.Tensor, torch.Tensor] = function.apply(call, *tensors)
    return result


def second_derivative() -> NotImplementedError:
    """Say that there are none."""
    return NotImplementedError(
        "attention: there are no derivatives of derivatives.\n  For products with them see "
        "Hessian-vector products in the guide."
    )


def encoded(call: Call, tensors: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    """Arguments of the operators: query, key, value, the other tensors, and the text."""
    text, arrays = encode(call)
    return *tensors[:3], [*tensors[3:], *arrays], text


def transformed() -> bool:
    """Whether a transform of ``torch.func`` is under way, so that tensors may have no memory."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def is_differentiated(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a derivative may be asked for, in either direction."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        return True
    moving: bool = forward_ad._current_level >= 0
    return moving
