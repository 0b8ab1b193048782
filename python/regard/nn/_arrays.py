"""Arrays that layers take: parameters, inputs, derivatives; state dicts, and parts of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard._arrays import coerce
from regard._casts import to_float32

Array: TypeAlias = NDArray[Any]


def as_parameter(array: Any, name: str) -> Array:
    """Take a parameter as float64 if it is, and else as float32.

    NumPy's products are of these two; bfloat16 and float16 are widened, once.

    Raises
    ------
    TypeError
        It is no array of numbers.
    """
    try:
        given = coerce(array, name, "stored")
    except TypeError as error:
        raise TypeError(str(error).replace("attention: ", "from_state_dict: ", 1)) from error
    return given if given.dtype == np.float64 else to_float32(given)


def part(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Take what begins with a prefix, without it."""
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}


def needed(arrays: Mapping[str, Any], name: str, layer: str) -> Array:
    """Take the parameter of a name.

    Raises
    ------
    ValueError
        There is none.
    """
    if name not in arrays:
        raise ValueError(
            f"{layer}: the state dict has no {name}.\n  It has {', '.join(list(arrays)[:6])}, ..."
            if arrays
            else f"{layer}: the state dict has no {name}.\n  It is empty: is a prefix wrong?"
        )
    return as_parameter(arrays[name], name)


def optional(arrays: Mapping[str, Any], name: str) -> Array | None:
    """Take the parameter of a name, if there is one."""
    return as_parameter(arrays[name], name) if name in arrays else None


def counted(arrays: Mapping[str, Any], prefix: str, layer: str) -> list[dict[str, Any]]:
    """Take the parts that are numbered from 0: ``layers.0.``, ``layers.1.`` ...

    Raises
    ------
    ValueError
        There is none.
    """
    parts: list[dict[str, Any]] = []
    while found := part(arrays, f"{prefix}{len(parts)}."):
        parts.append(found)
    if not parts:
        needed(arrays, f"{prefix}0.*", layer)
    return parts


def as_input(x: Any, name: str, layer: str, features: int, dtype: np.dtype[Any]) -> Array:
    """Check an input (..., features) of a layer.

    Raises
    ------
    ValueError
        It has another number of features.
    TypeError
        It is not of the dtype of the parameters.
    """
    array = np.asarray(x)
    if array.dtype != dtype:
        raise TypeError(
            f"{layer}: {name} has dtype {array.dtype}, and the parameters {dtype}.\n  Give "
            f"{name}.astype({dtype.name!r}), or parameters of the other type."
        )
    if array.ndim < 1 or array.shape[-1] != features:
        raise ValueError(
            f"{layer}: {name} has shape {array.shape}.\n  Its last axis must have the layer's "
            f"{features} features."
        )
    return array


def as_derivative(dout: Any, like: tuple[int, ...], layer: str, dtype: np.dtype[Any]) -> Array:
    """Check a derivative by the output of a layer.

    Raises
    ------
    ValueError
        It has another shape.
    """
    array = np.asarray(dout, dtype=dtype)
    if array.shape != like:
        raise ValueError(
            f"{layer}: dout has shape {array.shape}; the output has {like}.\n  Give the "
            "derivative by each number of the output."
        )
    return array
