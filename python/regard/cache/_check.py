"""What both caches check of their arguments."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from regard._arrays import coerce
from regard._bfloat16 import is_bfloat16
from regard._call.options import names
from regard.cache._storage import DTYPES

# What a cache decides itself; giving it to attend would contradict what is stored.
_DECIDED = ("cu_seqlens_k", *names(lambda option: option.cached == "never"))

_OVER_KEYS = ("key_mask", *names(lambda option: option.kind == "pairs"))


def whole(value: Any, name: str, call: str, least: int) -> int:
    """Return a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, np.integer)):
        raise TypeError(f"{call}: {name} is {value!r}.\n  Give a whole number.")
    if value < least:
        raise ValueError(f"{call}: {name} is {value}.\n  Give at least {least}.")
    return int(value)


def dtype_name(dtype: Any, call: str) -> str:
    """Return the name of a storage type."""
    if isinstance(dtype, str):
        if dtype in DTYPES:
            return dtype
    elif isinstance(dtype, (type, np.dtype)):
        kind = np.dtype(dtype)
        for name, stored in DTYPES.items():
            if kind == stored or (name == "bfloat16" and is_bfloat16(kind)):
                return name
    raise ValueError(f"{call}: dtype is {dtype!r}.\n  Give one of {', '.join(map(repr, DTYPES))}.")


def counts(value: Any, name: str, call: str, size: int, most: Any, what: str) -> NDArray[np.int64]:
    """Return one number for each batch element, each from 0 to `most`."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{call}: {name} has dtype {array.dtype}.\n  Give integers.")
    if array.ndim > 1 or (array.ndim == 1 and array.shape != (size,)):
        raise ValueError(
            f"{call}: {name} has shape {array.shape}.\n  Give one number, or one for each of the "
            f"{size} batch elements."
        )
    array = np.broadcast_to(array.astype(np.int64), (size,))
    limits = np.broadcast_to(most, (size,))
    for element in np.flatnonzero((array < 0) | (array > limits))[:1]:
        raise ValueError(
            f"{call}: {name} is {array[element]} for batch element {element}.\n  Give 0 to "
            f"{limits[element]}, {what}."
        )
    return array


def rows(array: Any, name: str) -> NDArray[Any]:
    """Return an array of floats; integers become float64."""
    if type(array) is np.ndarray and array.dtype.char in "fde" and array.dtype.isnative:
        return array
    if name.startswith("query"):
        return coerce(array, name, "input")
    stored = coerce(array, name, "stored")
    return stored if stored.dtype != np.int8 else stored.astype(np.float64)


def latent_scale(options: Any) -> None:
    """Refuse a call that does not say what its scores are multiplied by."""
    if options.get("scale") is None:
        raise TypeError(
            "attend: scale is missing.\n  Give that of the heads before they were absorbed, "
            "1 / sqrt(of their head_dim)."
        )


def latent_queries(parts: list[NDArray[Any]], latent_dim: int, rope_dim: int) -> NDArray[Any]:
    """Join the two parts of queries to latent rows."""
    for part, name, dim in zip(parts, ("query", "query_rope"), (latent_dim, rope_dim), strict=True):
        if not part.ndim or part.shape[-1] != dim:
            raise ValueError(
                f"attend: {name} has shape {part.shape}.\n  The last axis must have "
                f"{'latent_dim' if name == 'query' else 'rope_dim'}={dim} columns."
            )
    return joined(parts, ["query", "query_rope"], "attend")


def joined(parts: list[NDArray[Any]], names: list[str], call: str) -> NDArray[Any]:
    """Join the columns of arrays that are alike but for their last axes."""
    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.shape[:-1] != first.shape[:-1]:
            raise ValueError(
                f"{call}: {name} has shape {part.shape}, and {names[0]} {first.shape}.\n  All axes "
                "but the last must match."
            )
        if part.dtype != first.dtype:
            raise TypeError(
                f"{call}: {name} is of {part.dtype}, and {names[0]} of {first.dtype}.\n  Give one "
                "type."
            )
    return np.concatenate(parts, axis=-1)


def refuse_decided(options: dict[str, Any]) -> None:
    """Refuse options of attention that contradict the cache."""
    for name in _DECIDED:
        if name in options:
            raise TypeError(
                f"attend: {name} is the cache's own to give.\n  Use truncate to shorten what is "
                "attended to, or a mask to hide some of it."
            )


def query_dim(query: NDArray[Any], head_dim: int) -> None:
    """Refuse a query that cannot be turned as the keys were."""
    if query.shape[-1] != head_dim:
        raise ValueError(
            f"attend: query has shape {query.shape}, and the cache head_dim={head_dim}.\n  The "
            "last axis must match."
        )


def queries_have_tokens(
    count: int | NDArray[np.int64],
    lengths: NDArray[np.int64],
    options: dict[str, Any],
    what: Callable[[int], str],
) -> None:
    """Refuse more queries than tokens, unless options say where the queries stand.

    Parameters
    ----------
    count : int or ndarray of int64
        Queries of each batch element, all those that there are.
    lengths : ndarray of int64
        Tokens of each.
    options : dict
    what : callable
        Names a batch element, for messages.
    """
    causal = options.get("causal")
    if options.get("query_offset") is not None or causal is False or causal == "upper_left":
        return
    counted = options.get("query_lengths")
    if counted is not None:
        counted = np.asarray(counted)
        if counted.dtype.kind not in "iu":
            return  # which is refused as in any other call
        count = counted
    if not (count > lengths).any():
        return
    counts = np.broadcast_to(count, lengths.shape)
    element = int((counts > lengths).argmax())
    raise ValueError(
        f"attend: query has {counts[element]} tokens of {what(element)}, and the cache "
        f"{lengths[element]}.\n  The last query is that of the last token: append the tokens "
        "first. Where fewer queries count, say so with query_lengths."
    )


def refuse_no_room(before: NDArray[np.int64], after: NDArray[np.int64], capacity: int) -> NoReturn:
    """Refuse an append that a batch element has no room for."""
    element = int(after.argmax())
    raise ValueError(
        f"append: batch element {element} has {before[element]} tokens, and no room for "
        f"{after[element] - before[element]} more.\n  capacity={capacity}\n  Make a cache with a "
        "larger capacity, or truncate this one."
    )


def elements(indices: Any, batch: int) -> NDArray[np.int64]:
    """Return which batch elements to fork."""
    array = np.asarray(indices)
    if array.dtype.kind not in "iu" or array.ndim != 1 or not len(array):
        raise ValueError(
            f"fork: indices has dtype {array.dtype}, shape {array.shape}.\n  Give batch elements, "
            "as integers."
        )
    if ((array < 0) | (array >= batch)).any():
        raise ValueError(f"fork: indices is {indices}.\n  Give batch elements, 0 to {batch - 1}.")
    return array.astype(np.int64)


def widen_masks(options: dict[str, Any], keys: int, room: int) -> None:
    """Give masks and biases over the tokens of the longest sequence the width of whole pages."""
    for name in _OVER_KEYS:
        array = options.get(name)
        if isinstance(array, (list, tuple)):
            array = np.asarray(array)
        if isinstance(array, np.ndarray) and array.shape[-1:] == (keys,) and keys not in (1, room):
            # Nobody sees what lies there: it is behind every length.
            options[name] = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, room - keys)])
