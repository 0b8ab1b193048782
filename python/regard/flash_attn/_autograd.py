"""Attention of padded batches or packed pieces, in flash-attn's layouts, as autograd follows it.

Nothing is copied: (batch, seqlen, heads, head_dim) is read, and written, through strides, and so
are queries, keys and values that lie in one tensor. Their gradients go straight into one tensor of
that shape, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

import regard
from regard.gradients import INPUTS
from regard.gradients._call import DifferentiableCall
from regard.torch._tensors import array_of, tensor_of

Tensors = tuple[torch.Tensor, ...]
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Call:
    """What a call is given beside its tensors.

    Parameters
    ----------
    options : dict
        Of `regard.attention`.
    starts : (ndarray, ndarray), optional
        Where the queries and keys of packed pieces begin.
    """

    options: dict[str, Any]
    starts: tuple[NDArray[Any], NDArray[Any]] | None = None

    def separate(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """View query, key and value, in tensors that hold one, two or all of them."""
        alone = 4 if self.starts is None else 3
        return [view for x in tensors for view in ((x,) if x.ndim == alone else x.unbind(-3))]

    def array(self, x: torch.Tensor) -> NDArray[Any]:
        """View a tensor as regard takes it: heads in front of the length, or packed."""
        return array_of(x if self.starts is not None else x.transpose(1, 2))

    def forward(self, tensors: Tensors) -> Pair:
        """Output, as flash-attn lays it out, and LSE."""
        query, key, value = self.separate(tensors)
        out = torch.empty((*query.shape[:-1], value.shape[-1]), dtype=query.dtype)
        q, k, v, into = (self.array(x) for x in (query, key, value, out))
        if self.starts is None:
            _, lse = regard.attention(q, k, v, out=into, return_lse=True, **self.options)
        else:
            _, lse = regard.varlen_attention(
                q, k, v, *self.starts, out=into, return_lse=True, **self.options
            )
        return out, tensor_of(lse)

    def gradients(
        self,
        tensors: Tensors,
        pair: Pair,
        dout: torch.Tensor,
        dlse: torch.Tensor | None,
        needed: Sequence[bool],
    ) -> list[torch.Tensor | None]:
        """Gradients by the tensors that need one, of what the forward pass has left."""
        # Those of tensors that need none are never touched, and so take no memory.
        into = [torch.empty(x.shape, dtype=x.dtype) for x in tensors]
        each = [need for x, need in zip(tensors, needed, strict=True) for _ in self.separate((x,))]
        buffers = {
            name: self.array(view)
            for name, view, need in zip(INPUTS, self.separate(into), each, strict=True)
            if need
        }
        q, k, v = (self.array(x) for x in self.separate(tensors))
        call = DifferentiableCall("flash_attn", q, k, v, self.options, self.starts)
        out, lse = pair
        regard.Vjp(call, self.array(out), array_of(lse))(
            self.array(dout), None if dlse is None else array_of(dlse),
            wrt=list(buffers), out=buffers,
        )  # fmt: skip
        return [x if need else None for x, need in zip(into, needed, strict=True)]


class Differentiable(Protocol):
    """What `attend` is given: computes output and LSE, and gradients where there are any."""

    def forward(self, tensors: Tensors) -> Pair: ...

    def gradients(
        self,
        tensors: Tensors,
        pair: Pair,
        dout: torch.Tensor,
        dlse: torch.Tensor | None,
        needed: Sequence[bool],
    ) -> list[torch.Tensor | None]: ...


def attend(call: Differentiable, *tensors: torch.Tensor) -> Pair:
    """Compute output and LSE; a part of the graph if a tensor requires a gradient."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        pair: Pair = _Attention.apply(call, *tensors)
        return pair
    return call.forward(tensors)


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, call: Differentiable, *tensors: torch.Tensor) -> Pair:
        ctx.call = call
        ctx.set_materialize_grads(False)  # of the LSE, which few losses depend on
        pair = call.forward(tensors)
        ctx.save_for_backward(*tensors, *pair)
        return pair

    @staticmethod
    def backward(
        ctx: Any, dout: torch.Tensor | None, dlse: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():  # that is, with create_graph=True
            raise NotImplementedError(
                "flash_attn: there are no derivatives of derivatives.\n  For products with them "
                "see Hessian-vector products in the guide."
            )
        *tensors, out, lse = ctx.saved_tensors
        if dout is None:
            dout = torch.zeros_like(out)
        needed = ctx.needs_input_grad[1:]
        return None, *ctx.call.gradients(tuple(tensors), (out, lse), dout, dlse, needed)
