"""The checks that every tensor of a call goes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from regard.torch._tensors import array_of

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_tensor(function: str, name: str, x: Any) -> None:
    """Refuse what is no tensor on the CPU.

    Raises
    ------
    TypeError
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{function}: {name} is a {type(x).__name__}.\n  Give a tensor.")
    if x.device.type != "cpu":
        advice = (
            "It has no numbers to compute with."
            if x.device.type == "meta"
            else f"Move it with {name}.cpu(), or use the package flash-attn itself."
        )
        raise TypeError(f"{function}: {name} is on the device {x.device}.\n  {advice}")


def check_floats(function: str, tensors: dict[str, torch.Tensor]) -> None:
    """Refuse tensors that are not on the CPU, or not all of the first one's dtype.

    Raises
    ------
    TypeError
    """
    first = ""
    for name, x in tensors.items():
        check_tensor(function, name, x)
        if x.dtype not in _FLOATS:
            raise TypeError(
                f"{function}: {name} has dtype {x.dtype}.\n  Use float16, bfloat16, float32 or "
                "float64."
            )
        first = first or name
        if x.dtype != tensors[first].dtype:
            raise TypeError(
                f"{function}: {name} has dtype {x.dtype}, {first} has {tensors[first].dtype}.\n"
                f"  Convert it with {name}.to({first}.dtype)."
            )


def integers(function: str, name: str, x: Any, shape: tuple[int | str, ...]) -> NDArray[np.int64]:
    """Numbers out of a tensor of integers, of a shape in which words stand for any size.

    Raises
    ------
    TypeError, ValueError
    """
    check_tensor(function, name, x)
    if x.dtype not in (torch.int32, torch.int64):
        raise TypeError(
            f"{function}: {name} has dtype {x.dtype}.\n  Use int32, as flash-attn, or int64."
        )
    fits = len(x.shape) == len(shape) and all(
        isinstance(want, str) or want == size for want, size in zip(shape, x.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{function}: {name} has shape {tuple(x.shape)}.\n  Give ({wanted}).")
    return array_of(x).astype(np.int64)
