"""Which rotation a cache has, and where the queries stand that it turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._call.options import names
from regard.positions import Rope
from regard.positions._rotation import Rotation

# Options of attention that may put queries elsewhere than at the last tokens.
MOVES = frozenset(names(lambda option: option.offset))


def choose(
    current: Rotation | None, rope: Any, head_dim: int, filled: bool, first: int = 0
) -> Rotation | None:
    """Return the rotation of an append, refusing another one than that of earlier tokens.

    Parameters
    ----------
    current : Rotation or None
        Of the tokens so far.
    rope : Rope or None
    head_dim : int
    filled : bool
        Whether there are any tokens; while there are none, any rotation will do.
    first : int, default 0
        Features of head_dim that are not turned, in front.
    """
    if rope is None:
        return current
    if not isinstance(rope, Rope):
        raise TypeError(
            f"append: rope is a {type(rope).__name__}.\n  Give a regard.positions.Rope(...)."
        )
    rotation = rope.rotation(head_dim - first)
    if first:
        rotation = Rotation(rotation.frequencies, rotation.factor, rotation.interleaved, first)
        rotation = current if rotation == current and current is not None else rotation
    if rotation is current or not filled:
        return rotation
    if current is None:
        raise ValueError(
            "append: rope is given, and earlier tokens were appended without it.\n  Give it with "
            "the first tokens, or turn keys and queries yourself (regard.positions.rope)."
        )
    if rotation != current:
        raise ValueError(
            f"append: rope is {rope}, another one than that of earlier tokens.\n  All keys of a "
            "cache are turned alike: give the same, or None, or make another cache."
        )
    return current


def turned_keys(
    rotation: Rotation, keys: NDArray[Any], lengths: NDArray[np.int64], same: int
) -> NDArray[Any]:
    """Turn new keys (batch, kv_heads, n, head_dim) that stand behind `lengths` tokens.

    Parameters
    ----------
    rotation : Rotation
    keys : ndarray
    lengths : ndarray of int64
    same : int
        The length of all, or -1.
    """
    with np.errstate(over="ignore"):  # of half precision: `within` looks for it
        if same >= 0:
            return rotation.turn_from(keys, same)
        positions = lengths[:, np.newaxis, np.newaxis] + np.arange(keys.shape[2])
        return rotation.turn(keys, positions)


def first_positions(
    lengths: NDArray[np.int64], count: int | NDArray[np.int64], options: dict[str, Any]
) -> NDArray[np.int64]:
    """Where the first query of each batch element stands, as `regard.attention` has it."""
    offset = options.get("query_offset")
    if offset is not None:
        return np.broadcast_to(_integers(offset, "query_offset"), lengths.shape)
    if isinstance(options.get("causal"), str) and options["causal"] == "upper_left":
        return np.zeros_like(lengths)
    queries = options.get("query_lengths")
    return lengths - (count if queries is None else _integers(queries, "query_lengths"))


def _integers(value: Any, name: str) -> NDArray[np.int64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(
            f"attend: {name} has dtype {array.dtype} and shape {array.shape}.\n  Give integers, "
            "one or one for each batch element."
        )
    return array.astype(np.int64)
