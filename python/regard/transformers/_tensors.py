"""Where a model's tensors are, and its options as arrays."""

from __future__ import annotations

from typing import Any

import torch

from regard.torch._tensors import array_of


def check_device(device: torch.device, argument: str) -> None:
    """Refuse memory that is elsewhere."""
    if device.type != "cpu":
        raise TypeError(
            f'attn_implementation="regard": {argument} is on the device {device}.\n'
            "  regard runs on the CPU: move the model and its inputs with .to('cpu'), or choose "
            "another implementation by model.set_attn_implementation('sdpa')."
        )


def arrays_of(options: dict[str, Any]) -> dict[str, Any]:
    """View the tensors among the options as arrays."""
    arrays = dict(options)
    for name, x in options.items():
        if isinstance(x, torch.Tensor):
            # A few numbers, which a 16-bit model has in 16 bits.
            arrays[name] = array_of(x.double() if name == "sinks" else x)
    return arrays
