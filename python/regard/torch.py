"""Attention on PyTorch tensors, with gradients: for use inside modules.

Imported only when asked for; PyTorch is installed by ``pip install "regard[torch]"``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import regard

# Options that have gradients of their own.
_DIFFERENTIABLE = ("bias", "sinks", "alibi_slopes")


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> torch.Tensor:
    """Attention of tensors on the CPU; part of the graph that autograd follows.

    Nothing is copied: tensors are read where they are, whatever their strides, and only the
    output and its LSE are kept for the backward pass.

    Parameters
    ----------
    query : Tensor, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16.
    key : Tensor, shape (..., Hkv, Sk, D)
    value : Tensor, shape (..., Hkv, Sk, Dv)
    **options
        As in `regard.attention`, but return_lse and out; arrays may be tensors. A bias, sinks and
        alibi_slopes that require gradients get them.

    Returns
    -------
    Tensor, shape (..., Hq, Sq, Dv)
        In the dtype of query.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention_vjp` does, or a tensor is not on the CPU.
    NotImplementedError
        Derivatives of derivatives were asked for.

    Examples
    --------
    >>> import torch
    >>> import regard.torch
    >>> x = torch.randn(2, 8, 100, 16, requires_grad=True)
    >>> regard.torch.attention(x, x, x, causal=True).sum().backward()
    >>> x.grad.shape
    torch.Size([2, 8, 100, 16])
    """
    tensors = {"query": query, "key": key, "value": value}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"attention: {name} is a {type(tensor).__name__}.\n  Give a tensor, or use "
                "regard.attention."
            )
    for name in _DIFFERENTIABLE:
        if isinstance(options.get(name), torch.Tensor):
            tensors[name] = options.pop(name)
    plain = {name: _array(x, name) for name, x in options.items()}
    out: torch.Tensor = _Attention.apply(plain, tuple(tensors), *tensors.values())
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: dict[str, Any], names: tuple[str, ...], *tensors: torch.Tensor
    ) -> torch.Tensor:
        ctx.options, ctx.names = options, names
        arrays = {name: _array(x, name) for name, x in zip(names, tensors, strict=True)}
        if not any(ctx.needs_input_grad):
            return _tensor(regard.attention(**arrays, **options))
        out, vjp = regard.attention_vjp(**arrays, **options)
        result = _tensor(out)
        # By autograd, which notices when a tensor is changed before the backward pass.
        ctx.save_for_backward(*tensors, result, _tensor(vjp.lse))
        return result

    @staticmethod
    def backward(ctx: Any, *douts: Any) -> tuple[torch.Tensor | None, ...]:
        (dout,) = douts
        if torch.is_grad_enabled():  # that is, with create_graph=True
            raise NotImplementedError(
                "attention: there are no derivatives of derivatives.\n  Use regard.attention_jvp "
                "for products with second derivatives."
            )
        *tensors, out, lse = ctx.saved_tensors
        arrays = {name: _array(x, name) for name, x in zip(ctx.names, tensors, strict=True)}
        needed = dict(zip(ctx.names, ctx.needs_input_grad[2:], strict=True))
        gradients = regard.attention_backward(
            _array(dout, "dout"), **arrays, out=_array(out, "out"), lse=_array(lse, "lse"),
            wrt=[name for name in ctx.names if needed[name]], **ctx.options,
        )  # fmt: skip
        results = []
        for name, tensor in zip(ctx.names, tensors, strict=True):
            gradient = getattr(gradients, name)
            results.append(None if gradient is None else _tensor(gradient).to(tensor.dtype))
        return None, None, *results


def _array(x: Any, argument: str) -> Any:
    """View a tensor as an array; anything else stays."""
    if not isinstance(x, torch.Tensor):
        return x
    if x.device.type != "cpu":
        raise TypeError(
            f"attention: {argument} is on the device {x.device}.\n  Move it with {argument}.cpu()."
        )
    x = x.detach().resolve_neg()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(np.uint16).view(regard.bfloat16)
    return x.numpy()


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """View an array that is ours as a tensor."""
    if array.dtype == regard.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
