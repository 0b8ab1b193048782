"""``attention`` and ``varlen_attention`` on tensors: their words, and which way a call takes.

A call on plain tensors goes straight to the arrays; autograd sees one function where a gradient is
wanted. Where tensors are traced, by ``torch.compile``, ``torch.export`` or fake tensors, it is an
operator of `regard.torch._operators`. The smallest calls take, roughly, in microseconds of
processor time: 2 for `regard.attention`, 14 here, 25 for a forward pass that is differentiated; 22
for the operator itself, and 75 where it is differentiated. PyTorch's own attention takes 5.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from regard._adapters import refuse_derivatives, require_position_bias
from regard._call.core_options import check_names
from regard._call.options import BY_NAME, names
from regard.gradients import NAMES
from regard.torch._compute import STARTS, Call
from regard.torch._function import differentiable, encoded, is_differentiated, transformed
from regard.torch._tensors import check_tensor

#: Options that are tensors and have gradients of their own.
DIFFERENTIABLE = tuple(n for n in NAMES if n in BY_NAME and BY_NAME[n].kind != "object")
_REFUSED = names(lambda option: option.gradient == "refused")
_LENGTHS = frozenset(names(lambda option: option.kind == "lengths"))
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    position_table: torch.Tensor | None = None,
    return_lse: bool = False,
    **options: Any,
) -> Any:
    """Attention of tensors on the CPU; part of the graph that autograd follows.

    Nothing is copied: tensors are read where they are, whatever their strides, and only the
    output and its LSE are kept for the backward pass. ``torch.compile``, ``torch.export``,
    ``torch.func.grad``, ``vmap`` and ``jvp`` take it as one operator. Forward mode follows query,
    key and value.

    Parameters
    ----------
    query : Tensor, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16.
    key : Tensor, shape (..., Hkv, Sk, D)
    value : Tensor, shape (..., Hkv, Sk, Dv)
    position_table : Tensor, optional
        Takes the place of ``position_bias.table``, and gets a gradient: for one that is learned.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators, which has gradients too.
    **options
        As in `regard.attention`, but out; arrays may be tensors. A bias, sinks, alibi_slopes and
        query_scale that require gradients get them. A seed may be a tensor too.

    Returns
    -------
    out : Tensor, shape (..., Hq, Sq, Dv)
        In the dtype of query. It lies in memory as query does where that is (..., Sq, Hq, D), so
        that ``out.transpose(-3, -2)`` is contiguous again. Under ``torch.autocast("cpu")`` float32
        inputs, and a bias, are rounded to its dtype before, as those of PyTorch's own attention
        are.
    lse : Tensor, shape (..., Hq, Sq)
        Only with return_lse.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention_vjp` does, or a tensor is not on the CPU, or one requires a gradient
        that there is none of.
    NotImplementedError
        A derivative of a derivative was asked for, or forward mode by an option.

    See Also
    --------
    scaled_dot_product_attention : The same with PyTorch's arguments.

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
    out, lse = _routed(query, key, value, {}, position_table, options)
    return (out, lse) if return_lse else out


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    *,
    position_table: torch.Tensor | None = None,
    return_lse: bool = False,
    **options: Any,
) -> Any:
    """Attention within each piece of a packed batch of tensors, with gradients.

    Parameters
    ----------
    query : Tensor, shape (total_q, Hq, D)
    key : Tensor, shape (total_k, Hkv, D)
    value : Tensor, shape (total_k, Hkv, Dv)
    cu_seqlens_q, cu_seqlens_k : Tensor of int, shape (pieces + 1,)
        Where pieces begin, and the totals.
    position_table, return_lse, **options
        As in `regard.torch.attention`; shapes as in `regard.varlen_attention`.

    Returns
    -------
    out : Tensor, shape (total_q, Hq, Dv)
    lse : Tensor, shape (Hq, total_q)
        Only with return_lse.

    Raises
    ------
    ValueError, TypeError, NotImplementedError
        As `regard.torch.attention` does; there is no forward mode.

    Examples
    --------
    >>> import torch
    >>> import regard.torch
    >>> x = torch.randn(10, 4, 16, requires_grad=True)  # sentences of 3 and 7 words
    >>> starts = torch.tensor([0, 3, 10])
    >>> regard.torch.varlen_attention(x, x, x, starts, starts, causal=True).shape
    torch.Size([10, 4, 16])
    """
    starts = dict(zip(STARTS, (cu_seqlens_q, cu_seqlens_k), strict=True))
    out, lse = _routed(query, key, value, starts, position_table, options)
    return (out, lse) if return_lse else out


def _routed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: dict[str, torch.Tensor],
    position_table: torch.Tensor | None,
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort out tensors and options, and take the way that fits."""
    tensors = {"query": query, "key": key, "value": value, **starts}
    for name, x in tensors.items():
        check_tensor(x, name)
    if options or position_table is not None:
        options = _sorted(tensors, position_table, options)
    if torch.is_autocast_enabled("cpu"):
        rounded_by_autocast(tensors)
    call = Call(tuple(tensors)[3:], options)
    values = tuple(tensors.values())
    if not query.dtype.is_floating_point:
        raise TypeError(
            f"attention: query has dtype {query.dtype}.\n  Use float32, float64, float16 or "
            "bfloat16."
        )
    differentiated = is_differentiated(values)
    if differentiated:
        refuse_derivatives(n for n in _REFUSED if n in tensors or options.get(n) is not None)
    result: tuple[torch.Tensor, torch.Tensor]
    if torch.compiler.is_compiling() or (not transformed() and is_traced(values)):
        if forward_ad._current_level >= 0:  # which would be lost without a word
            raise NotImplementedError(
                "attention: there is no forward mode inside of compiled graphs.\n  Compile what "
                "is around it, or use gradients."
            )
        result = torch.ops.regard.attention(*encoded(call, values))
    elif differentiated or transformed():
        result = differentiable(call, values)
    else:
        result = call.forward(values)
    return result


def _sorted(
    tensors: dict[str, torch.Tensor],
    position_table: torch.Tensor | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Add the options that are tensors to `tensors`; return the others."""
    check_names("attention", options)
    if position_table is not None:
        require_position_bias(options, "regard.bias.Relative(table.detach())")
        check_tensor(position_table, "position_table")
    others = {}
    for name, x in options.items():
        if name in _LENGTHS and torch.compiler.is_compiling() and isinstance(x, int):
            # A number that changes from call to call would be a new graph each time.
            x = torch.full((), x, dtype=torch.int64)
        if not isinstance(x, torch.Tensor):
            others[name] = x
            continue
        check_tensor(x, name)
        if x.requires_grad and name not in DIFFERENTIABLE:
            raise ValueError(
                f"attention: {name} requires a gradient, and there is none.\n  Give "
                f"{name}.detach(). Gradients are those by query, key, value, "
                f"{', '.join(DIFFERENTIABLE)} and position_table."
            )
        tensors[name] = x
    if position_table is not None:
        tensors["position_bias"] = position_table
    return others


def rounded_by_autocast(tensors: dict[str, torch.Tensor]) -> None:
    """Round what PyTorch's attention would round under autocast: all but float64."""
    dtype = torch.get_autocast_dtype("cpu")
    for name in ("query", "key", "value", "bias", "attn_mask"):
        x = tensors.get(name)
        if x is not None and x.is_floating_point() and x.dtype != torch.float64:
            tensors[name] = x.to(dtype)


def is_traced(tensors: tuple[torch.Tensor, ...]) -> bool:
    """Whether somebody has to see an operator: modes, and tensors that stand for others."""
    if torch._C._len_torch_dispatch_stack() > 0 or torch.jit.is_tracing():
        return True
    return not all(type(x) in _PLAIN for x in tensors)
