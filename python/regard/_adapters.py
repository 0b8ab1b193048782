"""What the adapters of other libraries share: position biases whose table is learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from regard._bfloat16 import rounded
from regard._call.options import names

_NUMBERS = names(lambda option: option.gradient == "numbers")
_SINGLE = names(lambda option: option.kind == "number")


def require_position_bias(options: dict[str, Any], example: str) -> None:
    """Refuse a table that nothing says the meaning of."""
    if options.get("position_bias") is None:
        raise ValueError(
            "attention: position_table without position_bias.\n  Say what it is a table of, "
            f"e.g. position_bias={example}."
        )


def refuse_derivatives(names: Iterable[str]) -> None:
    """Refuse options that there are no derivatives with.

    Parameters
    ----------
    names : iterable of str
        Those among them that are given.
    """
    for name in names:
        raise ValueError(
            f"attention: there are no derivatives with {name}.\n  Give key and value as arrays "
            "of floats."
        )


def call_arguments(arrays: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Put the arguments of a call together.

    Parameters
    ----------
    arrays : dict
        Those that the library may differentiate by. A ``position_bias`` among them is the table
        that takes the place of the one in ``options``.
    options : dict
        The others.

    Returns
    -------
    dict
    """
    arguments = {**options, **arrays}
    for name in _NUMBERS:
        if name in arrays and arrays[name].dtype.itemsize == 2:  # a few numbers, of a 16-bit model
            arguments[name] = rounded(arrays[name], np.dtype(np.float32))
    for name in _SINGLE:
        if name in arrays:  # of no axes, since what is traced is an array
            arguments[name] = arrays[name].item()
    if "position_bias" in arrays:
        arguments["position_bias"] = options["position_bias"].with_table(arguments["position_bias"])
    return arguments
