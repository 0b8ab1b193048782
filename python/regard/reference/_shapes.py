"""Shapes and positions: heads, batch axes, lengths, and where a query stands among the keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Causal: TypeAlias = "bool | Literal['lower_right', 'upper_left']"
Side: TypeAlias = "int | NDArray[np.integer[Any]] | None"
ScoreFunction: TypeAlias = "Callable[..., ArrayLike]"
Window: TypeAlias = "Side | tuple[Side, Side]"


class DenseMask(Protocol):
    """A mask in some other form: what it means is its dense one."""

    def to_dense(self) -> NDArray[np.bool_]:
        """Return the mask, True = attend, broadcastable to (..., Hq, Sq, Sk)."""
        ...


class PositionBias(Protocol):
    """A bias that depends on positions alone, one of :mod:`regard.bias`."""

    def to_dense(self, queries: int, keys: int, offset: int = 0) -> NDArray[Any]:
        """Return what is added, (Hq or 1, queries, keys), with query i at position i + offset."""
        ...


def with_heads(x: ArrayLike) -> Array:
    """As float64, with an axis for heads, and one for the length of a lone query."""
    a = np.asarray(x, dtype=np.float64)
    return a.reshape((1,) * (3 - a.ndim) + a.shape)


def per_query_head(x: Array, heads: int) -> Array:
    """Repeat each kv head for the query heads that share it."""
    kv_heads = x.shape[-3]
    if heads != kv_heads and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(f"{heads} query heads are no multiple of {kv_heads} kv heads")
    return x if heads == kv_heads else np.repeat(x, heads // kv_heads, axis=-3)


def per_head(name: str, x: ArrayLike, heads: int) -> Array:
    """One number for all heads, or one for each, as an array that broadcasts to scores."""
    a = np.asarray(x, dtype=np.float64)
    if a.ndim and a.shape != (heads,):
        raise ValueError(f"{name} has shape {a.shape}, neither () nor ({heads},) for the heads")
    return a[:, np.newaxis, np.newaxis] if a.ndim else a


def per_query(x: ArrayLike, shape: Sequence[int]) -> Array:
    """One number for each query, as an array that broadcasts to scores of a shape."""
    return np.broadcast_to(np.asarray(x, dtype=np.float64), shape[:-1])[..., np.newaxis]


def per_element(x: ArrayLike, batch: Sequence[int]) -> NDArray[np.int64]:
    """One integer for each batch element, as an array that broadcasts to scores."""
    a = np.asarray(x, dtype=np.int64)
    if a.ndim == 0:
        return a
    return np.broadcast_to(a, batch)[..., np.newaxis, np.newaxis, np.newaxis]


def exact(offset: NDArray[np.int64]) -> NDArray[Any]:
    """As Python's integers, if positions could leave int64."""
    return offset.astype(object) if ((offset > 2**62) | (offset < -(2**62))).any() else offset


def lengths(name: str, x: ArrayLike | None, batch: Sequence[int], whole: int) -> NDArray[np.int64]:
    """How many leading rows of each batch element count: all, if not given."""
    a = per_element(whole if x is None else x, batch)
    if ((a < 0) | (a > whole)).any():
        raise ValueError(f"{name} must be within 0 .. {whole}")
    return a


def offsets(
    shape: Sequence[int],
    *,
    causal: Causal = False,
    key_lengths: ArrayLike | None = None,
    query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Tell where the first query stands among the keys: query i is at position p = i + offset.

    Parameters
    ----------
    shape : sequence of int
        (..., Hq, Sq, Sk).
    causal : bool, "lower_right" or "upper_left"
        With ``"upper_left"`` the offset is 0: the first query stands at the first key. Otherwise
        the last query stands at the last key, whether the mask is causal or not.
    key_lengths, query_lengths : array_like of int, broadcast to the batch axes of `shape`
        Take the place of Sk and Sq in the offset Sk - Sq.
    query_offset : array_like of int, broadcast to the batch axes of `shape`
        The offset itself, whatever the others say.

    Returns
    -------
    ndarray of int64, shape () or (..., 1, 1, 1)
        One for all, or one for each batch element; either broadcasts to `shape`.

    Examples
    --------
    >>> from regard import reference
    >>> int(reference.offsets((1, 2, 5)))
    3
    >>> reference.offsets((2, 1, 2, 5), key_lengths=[5, 4]).ravel()
    array([3, 2])
    """
    *batch, _, queries, keys = shape
    if query_offset is not None:
        return per_element(query_offset, batch)
    if causal == "upper_left":
        return np.asarray(0, dtype=np.int64)
    key_length = lengths("key_lengths", key_lengths, batch, keys)
    return np.asarray(key_length - lengths("query_lengths", query_lengths, batch, queries))
