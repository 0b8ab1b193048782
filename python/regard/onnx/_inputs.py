"""Whether inputs fit each other, and how they are seen by head.

Errors are written as those of `attention`; an operator puts its own name in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._bfloat16 import is_bfloat16

Array = NDArray[Any]


def require(name: str, x: Array | None) -> Array:
    """Refuse an input that is left out."""
    if x is None:
        raise ValueError(f"attention: {name} is not given.")
    return x


def check_float(name: str, x: Array, like: str | None = None, dtype: Any = None) -> None:
    """Refuse what is no array of floats, or not of the type of another input."""
    if x.dtype.kind != "f" and not is_bfloat16(x.dtype):
        raise ValueError(f"attention: {name} has dtype {x.dtype}.\n  Give floats.")
    if like is not None and x.dtype != dtype:
        raise ValueError(
            f"attention: {name} has dtype {x.dtype} and {like} has {dtype}.\n  They must have one."
        )


def check_shape(name: str, x: Array, *axes: tuple[str, int | None]) -> None:
    """Refuse an array of other axes than those, whose lengths may be anything where None."""
    fits = x.ndim == len(axes) and all(
        length in (None, n) for n, (_, length) in zip(x.shape, axes, strict=True)
    )
    if not fits:
        wanted = ", ".join(axis if n is None else f"{axis}={n}" for axis, n in axes)
        raise ValueError(f"attention: {name} has shape {x.shape}.\n  Give ({wanted}).")


def check_both(first: str, one: Array | None, second: str, other: Array | None) -> None:
    """Refuse one of two inputs without the other."""
    if (one is None) != (other is None):
        there, missing = (second, first) if one is None else (first, second)
        raise ValueError(f"attention: {there} without {missing}.\n  Give both, or neither.")


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Refuse a value of an attribute that is none of those."""
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ValueError(f"attention: {name} is {value!r}.\n  Give one of {listed}.")


def check_range(name: str, numbers: Array, least: int, most: int) -> None:
    """Refuse integers outside of least .. most."""
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"attention: {name} has dtype {numbers.dtype}.\n  Give integers.")
    if numbers.size and (numbers.min() < least or numbers.max() > most):
        raise ValueError(
            f"attention: {name} holds {numbers.min()} .. {numbers.max()}.\n  Give numbers from "
            f"{least} to {most}."
        )


def by_head(name: str, x: Array, heads: int | None, attribute: str) -> Array:
    """See (batch, length, heads * dim) as (batch, heads, length, dim)."""
    if heads is None or heads < 1:
        raise ValueError(
            f"attention: {attribute} is {heads}, and {name} has three axes.\n  Say how many heads "
            "there are in the last one."
        )
    if x.ndim != 3 or x.shape[2] % heads:
        raise ValueError(
            f"attention: {name} has shape {x.shape}.\n  Give (batch, length, hidden), hidden a "
            f"multiple of {attribute}={heads}."
        )
    seen: Array = x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)
    return seen


def of_one_precision(*arrays: Array, wide: bool = False) -> list[Array]:
    """Cast all to float64 if one of them is or `wide` is asked for, which goes with no other."""
    if not wide and len({x.dtype == np.float64 for x in arrays}) == 1:
        return list(arrays)
    return [x.astype(np.float64, copy=False) for x in arrays]
