"""One function for each kind of option: from what users write to the plain values the core reads.

Each is called with the core's options so far, which it adds to; the option's name and value; and
query, for its dtype and number of heads. What depends on shapes is for the core to check.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regard._arrays import coerce, int64

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_UNLIMITED = 2**63 - 1  # a side of a window, in the core
_CAUSAL: dict[Any, int] = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}


def as_given(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Leave it to the core, which makes an array of it."""
    core[name] = value


def causal(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Take the number of a kind of causal mask."""
    try:
        core[name] = _CAUSAL[value]
    except (KeyError, TypeError):
        raise ValueError(
            f"attention: causal is {value!r}.\n  Give True or 'lower_right' (the last query sees "
            "the last key), 'upper_left' (the first query sees only the first key), or False."
        ) from None


def window(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Split a window into its sides, each with a limit for all heads or one for each."""
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sides) != 2:
        raise ValueError(
            f"attention: window has {len(sides)} sides.\n  Give (left, right), or one number for "
            "both."
        )
    for of_side, side in zip(("window_left", "window_right"), sides, strict=True):
        if side is None:
            continue
        if isinstance(side, (list, tuple)) or (isinstance(side, np.ndarray) and side.ndim > 0):
            core[of_side] = _window_of_heads(side)
        elif isinstance(side, bool) or not isinstance(side, (numbers.Integral, np.integer)):
            raise TypeError(
                f"attention: window is {value!r}.\n  Give a number of keys, (left, right), None "
                "on a side that has no limit, or an array or list with one number a head."
            )
        else:
            core[of_side] = int64(side)


def _window_of_heads(side: NDArray[Any] | Sequence[int | None]) -> list[int]:
    advice = "Give integers, one for each head of query; -1 is no limit."
    if not isinstance(side, np.ndarray):
        return [_UNLIMITED if keys is None else _whole(keys) for keys in side]
    if side.dtype.kind not in "iu":
        raise TypeError(f"attention: window has an array of dtype {side.dtype}.\n  {advice}")
    if side.ndim != 1:
        raise ValueError(f"attention: window has an array of shape {side.shape}.\n  {advice}")
    if (side < -1).any():
        raise ValueError(
            f"attention: window has an array that holds {side.min()}.\n  In an array -1 is no "
            "limit. For sides below 0, give a list with one number a head, None for no limit."
        )
    return [_UNLIMITED if keys == -1 else int64(keys) for keys in side]


def _whole(keys: Any) -> int:
    if isinstance(keys, bool) or not isinstance(keys, (numbers.Integral, np.integer)):
        raise TypeError(
            f"attention: window has a list that holds {keys!r}.\n  Give one whole number for each "
            "head of query, or None for no limit."
        )
    return int64(keys)


def mask(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Tell an array, the bits of one, and tiles."""
    if isinstance(value, np.ndarray) or not hasattr(value, "to_dense"):
        core["mask"] = value
        return
    from regard.masks import BlockMask, PackedMask  # not needed by who has no such mask

    if isinstance(value, BlockMask):
        core["block_mask"] = value
    elif isinstance(value, PackedMask):
        core["packed_mask"] = value.bits
        core["packed_keys"] = value.keys
    else:
        core["mask"] = value


def position_bias(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Lower a position bias to the numbers of each head."""
    core[name] = lowered_position_bias(value, query)


def lowered_position_bias(bias: Any, query: ArrayLike) -> tuple[NDArray[Any], int, int]:
    """Return table, height and width, in the type that query is computed in."""
    if isinstance(bias, type) or not (hasattr(bias, "lower") and hasattr(bias, "to_dense")):
        raise TypeError(
            f"attention: position_bias is a {type(bias).__name__}.\n  Give an object of "
            "regard.bias: Relative, T5 or Grid; arrays of scores go in bias=."
        )
    shape = np.shape(query)
    heads = shape[-3] if len(shape) > 2 else 1
    wide = coerce(query, "query", "input").dtype == np.float64
    lowered = bias.lower(heads, np.float64 if wide else np.float32)
    return lowered["table"], lowered["height"], lowered["width"]


def score_mod(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Lower a function of scores to an address, or to what is called for a tile."""
    from regard._call.functions import lowered  # not needed by who has no such function

    if name == "score_mod_gradient" and "score_mod" not in core:
        raise ValueError(
            "attention: score_mod_gradient is given without score_mod.\n  Give the function that "
            "it is the gradient of."
        )
    wide = coerce(query, "query", "input").dtype == np.float64
    core[name] = lowered(value, name, np.dtype(np.float64 if wide else np.float32))


def per_head(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """One number, or a list of one a head."""
    if isinstance(value, (np.ndarray, list, tuple)) and np.ndim(value) > 0:
        array = _floats(value, name)
        if array.ndim != 1:
            raise ValueError(
                f"attention: {name} has shape {array.shape}.\n  Give one number for all heads, or "
                "a 1-D array with one for each head of query."
            )
        core[name] = array.tolist()
        return
    what = "1 / sqrt(head_dim)" if name == "scale" else "none"
    core[name] = _number(value, name, f"a number, an array with one a head, or None for {what}")


def floats(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Make a float64 array of real numbers."""
    core[name] = _floats(value, name)


def _floats(value: Any, name: str) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"attention: {name} has dtype {array.dtype}.\n  Give real numbers.")
    return array.astype(np.float64)


def _number(value: Any, name: str, wanted: str) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.floating, np.integer)):
        raise TypeError(f"attention: {name} is a {type(value).__name__}.\n  Give {wanted}.")
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # which the core refuses


def similarity(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Say whether it is the cosine."""
    if not (isinstance(value, str) and value in ("dot", "cosine")):
        raise ValueError(
            f"attention: similarity is {value!r}.\n  Give 'dot' (the dot product of query and "
            "key) or 'cosine' (of the two brought to length 1)."
        )
    if value == "cosine":
        core["cosine"] = True


def dropout(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Take the share of weights to drop, if that is not none."""
    if not (isinstance(value, float) and value == 0.0):
        core[name] = _number(value, name, "the share of weights to drop")


def seed(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Take a seed of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(
            f"attention: seed is a {type(value).__name__}.\n  Give an integer from 0 to 2**64 - 1."
        )
    if not 0 <= int(value) < 2**64:
        raise ValueError(f"attention: seed is {value}.\n  Give an integer from 0 to 2**64 - 1.")
    core[name] = int(value)


def threads(core: dict[str, Any], name: str, value: Any, query: ArrayLike) -> None:
    """Take a number of threads."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(
            f"attention: {name} is {value!r}.\n  Give a whole number of at least 1, or None for "
            "get_num_threads()."
        )
    core[name] = int64(value)
