"""Attention as a function that autograd and ``torch.func`` follow, outside of compiled graphs."""

from __future__ import annotations

from typing import Any

import torch

from regard.gradients import INPUTS
from regard.torch import _compute
from regard.torch._compute import Call
from regard.torch._encoding import encode

_FIRST = 1  # arguments before the tensors


class Attention(torch.autograd.Function):
    """Output and LSE of a `Call` and its tensors, with derivatives in both directions."""

    # torch.func.vmap goes through the operators, which have rules of their own.
    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, *tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if transformed():
            text, arrays = encode(call)
            rest = [*tensors[3:], *arrays]
            result: tuple[torch.Tensor, torch.Tensor] = torch.ops.regard.attention(
                *tensors[:3], rest, text
            )
            return result
        return _compute.forward(call, tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, Any]) -> None:
        call, *tensors = inputs
        ctx.call = call
        ctx.set_materialize_grads(False)  # what does not move is None, and takes no time
        # By autograd, which notices when a tensor is changed before the backward pass.
        ctx.save_for_backward(*tensors, *output)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(
        ctx: Any, dout: torch.Tensor | None, dlse: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        needs = ctx.needs_input_grad[_FIRST:]
        if dout is None and dlse is None:
            return (None,) * (_FIRST + len(needs))
        *tensors, out, lse = ctx.saved_tensors
        call: Call = ctx.call
        wanted = [name for name, needed in zip(call.all_names, needs, strict=True) if needed]
        if transformed() or torch.is_grad_enabled():  # the operator refuses a second derivative
            text, arrays = encode(call)
            found = torch.ops.regard.attention_backward(
                dout, dlse, *tensors[:3], [*tensors[3:], *arrays], text, out, lse, wanted
            )
        else:
            found = _compute.backward(call, tensors, out, lse, dout, dlse, wanted)
        gradients = iter(found)
        return *(None,) * _FIRST, *(next(gradients) if needed else None for needed in needs)

    @staticmethod
    def jvp(ctx: Any, *moves: Any) -> tuple[torch.Tensor, torch.Tensor]:
        call: Call = ctx.call
        for name, move in zip(call.all_names, moves[_FIRST:], strict=True):
            if move is not None and name not in INPUTS:
                raise NotImplementedError(
                    f"attention: there is no forward mode for {name}.\n  Detach it, or use "
                    "gradients."
                )
        tensors = ctx.saved_tensors
        directions = moves[_FIRST : _FIRST + len(INPUTS)]
        if transformed():
            text, arrays = encode(call)
            result: tuple[torch.Tensor, torch.Tensor] = torch.ops.regard.attention_tangent(
                *tensors[:3], *directions, [*tensors[3:], *arrays], text
            )
            return result
        return _compute.tangent(call, tensors, directions)


def transformed() -> bool:
    """Whether a transform of ``torch.func`` is under way, so that tensors may have no memory."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active
