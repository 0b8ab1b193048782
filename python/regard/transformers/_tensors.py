"""Tensors as arrays and back, without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import regard


def check_device(device: torch.device, argument: str) -> None:
    """Refuse memory that is elsewhere."""
    if device.type != "cpu":
        raise TypeError(
            f'attn_implementation="regard": {argument} is on the device {device}.\n'
            "  regard runs on the CPU: move the model and its inputs with .to('cpu'), or choose "
            "another implementation by model.set_attn_implementation('sdpa')."
        )


def to_numpy(tensor: torch.Tensor, argument: str) -> NDArray[Any]:
    """View a tensor as an array."""
    check_device(tensor.device, argument)
    tensor = tensor.detach().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        bits: NDArray[Any] = tensor.view(torch.int16).numpy().view(np.uint16)
        return bits.view(regard.bfloat16)
    array: NDArray[Any] = tensor.numpy()
    return array


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """View an array that is ours as a tensor."""
    if array.dtype == regard.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def options_to_numpy(options: dict[str, Any]) -> dict[str, Any]:
    """View the tensors among the options as arrays."""
    arrays = dict(options)
    for name, x in options.items():
        if isinstance(x, torch.Tensor):
            # A few numbers, which a 16-bit model has in 16 bits.
            arrays[name] = to_numpy(x.double() if name == "sinks" else x, name)
    return arrays
