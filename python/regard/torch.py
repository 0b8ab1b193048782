"""Attention on PyTorch tensors, with gradients: for use inside modules.

Imported only when asked for; PyTorch is installed by ``pip install "regard[torch]"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import regard
from regard._adapters import call_arguments, require_position_bias
from regard._bfloat16 import MARKER
from regard._call.options import BY_NAME
from regard.gradients import INPUTS, NAMES

# Options that are tensors and have gradients of their own.
_DIFFERENTIABLE = tuple(n for n in NAMES if n in BY_NAME and BY_NAME[n].kind != "object")

_PLAIN = 3  # arguments of _Attention before its tensors


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    position_table: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Attention of tensors on the CPU; part of the graph that autograd follows.

    Nothing is copied: tensors are read where they are, whatever their strides, and only the
    output and its LSE are kept for the backward pass. Forward mode (``torch.autograd.forward_ad``)
    follows query, key and value.

    Parameters
    ----------
    query : Tensor, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16.
    key : Tensor, shape (..., Hkv, Sk, D)
    value : Tensor, shape (..., Hkv, Sk, Dv)
    position_table : Tensor, optional
        Takes the place of ``position_bias.table``, and gets a gradient: for one that is learned.
    **options
        As in `regard.attention`, but return_lse and out; arrays may be tensors. A bias, sinks,
        alibi_slopes and query_scale that require gradients get them.

    Returns
    -------
    Tensor, shape (..., Hq, Sq, Dv)
        In the dtype of query.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention_vjp` does, or a tensor is not on the CPU, or one requires a gradient
        that there is none of.
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

    A learned position bias; its own table is only a place for that of the call:

    >>> table = torch.zeros(32, 8, requires_grad=True)
    >>> bias = regard.bias.T5(table.detach(), bidirectional=False)
    >>> out = regard.torch.attention(x, x, x, position_bias=bias, position_table=table)
    >>> out.square().sum().backward()
    >>> table.grad.shape
    torch.Size([32, 8])
    """
    tensors = {"query": query, "key": key, "value": value}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"attention: {name} is a {type(tensor).__name__}.\n  Give a tensor, or use "
                "regard.attention."
            )
    if position_table is not None:
        require_position_bias(options, "regard.bias.Relative(table.detach())")
        tensors["position_bias"] = position_table
    for name in _DIFFERENTIABLE:
        if isinstance(options.get(name), torch.Tensor):
            tensors[name] = options.pop(name)
    for name, x in options.items():
        if isinstance(x, torch.Tensor) and x.requires_grad:
            raise ValueError(
                f"attention: {name} requires a gradient, and there is none.\n  Give "
                f"{name}.detach(). Gradients are those by query, key, value, "
                f"{', '.join(_DIFFERENTIABLE)} and position_table."
            )
    plain = {name: _array(x, name) for name, x in options.items()}
    keep = torch.is_grad_enabled()  # which it never is inside of forward
    out: torch.Tensor = _Attention.apply(keep, plain, tuple(tensors), *tensors.values())
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        keep: bool,
        options: dict[str, Any],
        names: tuple[str, ...],
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        ctx.options, ctx.names = options, names
        ctx.set_materialize_grads(False)  # what does not move is None, and takes no time
        ctx.save_for_forward(*tensors)
        arrays = _arrays(names, tensors, options)
        if not (keep and any(ctx.needs_input_grad)):
            return _tensor(regard.attention(**arrays))
        out, vjp = regard.attention_vjp(**arrays)
        result = _tensor(out)
        # By autograd, which notices when a tensor is changed before the backward pass.
        ctx.save_for_backward(*tensors, result, _tensor(vjp.lse))
        return result

    @staticmethod
    def backward(ctx: Any, *douts: Any) -> tuple[torch.Tensor | None, ...]:
        (dout,) = douts
        if dout is None:
            return (None,) * (_PLAIN + len(ctx.names))
        if torch.is_grad_enabled():  # that is, with create_graph=True
            raise NotImplementedError(
                "attention: there are no derivatives of derivatives.\n  For products with them see "
                "Hessian-vector products in the guide."
            )
        *tensors, out, lse = ctx.saved_tensors
        needed = dict(zip(ctx.names, ctx.needs_input_grad[_PLAIN:], strict=True))
        gradients = regard.attention_backward(
            _array(dout, "dout"), out=_array(out, "out"), lse=_array(lse, "lse"),
            wrt=[name for name in ctx.names if needed[name]],
            **_arrays(ctx.names, tensors, ctx.options),
        )  # fmt: skip
        results = []
        for name, tensor in zip(ctx.names, tensors, strict=True):
            gradient = getattr(gradients, name, None)
            results.append(
                None
                if gradient is None
                else _tensor(gradient).to(tensor.dtype).reshape(tensor.shape)
            )
        return *(None,) * _PLAIN, *results

    @staticmethod
    def jvp(ctx: Any, *moves: torch.Tensor | None) -> torch.Tensor:
        moving = {
            name: _array(move, name)
            for name, move in zip(ctx.names, moves[_PLAIN:], strict=True)
            if move is not None
        }
        for name in moving:
            if name not in INPUTS:
                raise NotImplementedError(
                    f"attention: there is no forward mode for {name}.\n  Detach it, or use "
                    "gradients."
                )
        tensors = ctx.saved_tensors
        directions = {f"d{name}": move for name, move in moving.items()}
        _, dout = regard.attention_jvp(**_arrays(ctx.names, tensors, ctx.options), **directions)
        return _tensor(dout).to(tensors[0].dtype)


def _arrays(
    names: tuple[str, ...], tensors: Sequence[torch.Tensor], options: dict[str, Any]
) -> dict[str, Any]:
    """All arguments of the call, the tensors among them as arrays."""
    arrays = {name: _array(x, name) for name, x in zip(names, tensors, strict=True)}
    return call_arguments(arrays, options)


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
        return x.view(torch.int16).numpy().view(MARKER)
    return x.numpy()


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """View an array that is ours as a tensor."""
    if array.dtype == MARKER:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
