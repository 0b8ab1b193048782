"""Tensors seen as arrays, and arrays as tensors: the same memory under another name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regard._bfloat16 import MARKER


def check_tensor(x: Any, argument: str) -> None:
    """Refuse what is no tensor on the CPU, in the name of the argument.

    Raises
    ------
    TypeError
        It is something else.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(
            f"attention: {argument} is a {type(x).__name__}.\n  Give a tensor, or use "
            "regard.attention."
        )
    if not x.is_cpu:
        raise TypeError(
            f"attention: {argument} is on the device {x.device}.\n  Move it with {argument}.cpu()."
        )
    if x.layout is not torch.strided or x.is_nested:
        raise TypeError(
            f"attention: {argument} is nested or sparse (layout {x.layout}).\n  Give a dense "
            "tensor; pieces of different lengths go in regard.torch.varlen_attention."
        )


def array_of(x: torch.Tensor) -> NDArray[Any]:
    """View a tensor on the CPU as an array, whatever its strides."""
    if x.requires_grad:
        x = x.detach()
    if x.is_neg():  # a view that says "minus", which NumPy does not have
        x = x.resolve_neg()
    if x.dtype == torch.bfloat16:
        bits: NDArray[Any] = x.view(torch.int16).numpy()
        return bits.view(MARKER)
    array: NDArray[Any] = x.numpy()
    return array


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """View an array that is ours as a tensor."""
    if array.dtype.kind == "V":  # bfloat16, which NumPy does not have
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
