"""Attention with its LSE, and of packed pieces, for autograd."""

from __future__ import annotations

from typing import Any

import torch

from regard.gradients._call import DifferentiableCall
from regard.gradients._pull_back import pull_back
from regard.transformers._tensors import options_to_numpy, to_numpy, to_tensor

_PLAIN = 3  # arguments of _Attention before its tensors
Starts = tuple[Any, Any] | None


def attention_with_lse(
    tensors: dict[str, torch.Tensor], options: dict[str, Any], starts: Starts = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and LSE, both of which may be differentiated.

    Parameters
    ----------
    tensors : dict
        query, key, value, and bias or sinks: what may require a gradient. With `starts`, query is
        (total, heads, dim), and so are key and value.
    options : dict
        Those of ``regard.attention`` that are no tensors.
    starts : (array, array), optional
        cu_seqlens_q and cu_seqlens_k.
    """
    result: tuple[torch.Tensor, torch.Tensor] = _Attention.apply(
        options, starts, tuple(tensors), *tensors.values()
    )
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: dict[str, Any], starts: Starts, names: tuple[str, ...], *tensors: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.options, ctx.starts, ctx.names = options, starts, names
        ctx.set_materialize_grads(False)
        out, lse = (to_tensor(x) for x in _call(ctx, tensors).forward())
        ctx.save_for_backward(*tensors, out, lse)
        return out, lse

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> tuple[torch.Tensor | None, ...]:
        dout, dlse = upstream
        if dout is None and dlse is None:
            return (None,) * (_PLAIN + len(ctx.names))
        if torch.is_grad_enabled():  # that is, with create_graph=True
            raise NotImplementedError(
                'attn_implementation="regard": there are no derivatives of derivatives.\n  Choose '
                "eager for them."
            )
        *tensors, out, lse = ctx.saved_tensors
        needed = dict(zip(ctx.names, ctx.needs_input_grad[_PLAIN:], strict=True))
        gradients = pull_back(
            _call(ctx, tensors),
            to_numpy(out, "out"),
            to_numpy(lse, "lse"),
            to_numpy(torch.zeros_like(out) if dout is None else dout, "dout"),
            None if dlse is None else to_numpy(dlse, "dlse"),
            [name for name in ctx.names if needed[name]],
            None,
            False,
        )
        results: list[torch.Tensor | None] = []
        for name, tensor in zip(ctx.names, tensors, strict=True):
            gradient = getattr(gradients, name)
            results.append(
                None
                if gradient is None
                else to_tensor(gradient).to(tensor.dtype).reshape(tensor.shape)
            )
        return *(None,) * _PLAIN, *results


def _call(ctx: Any, tensors: Any) -> DifferentiableCall:
    arrays = options_to_numpy(dict(zip(ctx.names, tensors, strict=True)))
    query, key, value = (arrays.pop(name) for name in ("query", "key", "value"))
    options = {**ctx.options, **arrays}
    return DifferentiableCall("attention", query, key, value, options, ctx.starts)
