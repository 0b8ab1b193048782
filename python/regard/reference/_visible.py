"""Which keys a query sees: the masks, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import Causal, DenseMask, Window, exact, lengths, offsets
from regard.reference._stored import values

# A side of a window from here on has no limit: callers have no larger number.
UNLIMITED = 2**63 - 1


def visible(
    shape: Sequence[int],
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | DenseMask | None = None,
    key_mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None,
    query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Tell which keys each query sees: every rule below must allow the pair.

    Parameters
    ----------
    shape : sequence of int
        (..., Hq, Sq, Sk).
    causal : bool, "lower_right" or "upper_left"
        Key j is seen from position p if j <= p. The position of query i is p = i + Sk - Sq, so
        that the last query sees the last key; with ``"upper_left"`` it is p = i.
    window : int, (left, right) or None
        p - left <= j <= p + right, for sides of either sign. None on a side leaves that side open,
        as 2**63 - 1 and more do; w means (w, w). A side may be an integer array of shape (Hq,), a
        limit for each head, -1 for none; or a list of Hq limits, None for none.
    mask : array_like of bool, broadcast to `shape`
        True where the query may look; or an object whose ``to_dense()`` is such an array.
    key_mask : array_like of bool, or 0 and 1, broadcast to the batch axes of `shape` and Sk
        True where there is a key; positions are not changed by it.
    bias : array_like of float, broadcast to `shape`
        -inf masks.
    key_lengths, query_lengths : array_like of int, broadcast to the batch axes of `shape`
        How many leading keys and queries count; they take the place of Sk and Sq in p above.
    query_offset : array_like of int, broadcast to the batch axes of `shape`
        p = i + query_offset, whatever `causal` and the lengths say.

    Returns
    -------
    ndarray of bool, broadcastable to `shape`

    See Also
    --------
    offsets : Where the queries stand among the keys.

    Examples
    --------
    >>> from regard import reference
    >>> reference.visible((1, 2, 3), causal=True)
    array([[ True,  True, False],
           [ True,  True,  True]])
    """
    if causal not in (False, True, "lower_right", "upper_left"):
        raise ValueError(f"causal must be a bool, 'lower_right' or 'upper_left', not {causal!r}")
    *batch, heads, queries, keys = shape
    i, j = np.arange(queries)[:, np.newaxis], np.arange(keys)
    offset = offsets(
        shape, causal=causal, key_lengths=key_lengths, query_lengths=query_lengths,
        query_offset=query_offset,
    )  # fmt: skip
    distance = i + exact(offset) - j  # p - j

    sees: NDArray[np.bool_] = j < lengths("key_lengths", key_lengths, batch, keys)
    sees = sees & (i < lengths("query_lengths", query_lengths, batch, queries))
    if causal:
        sees = sees & (distance >= 0)
    left, right = window if isinstance(window, (tuple, list)) else (window, window)
    if left is not None:
        sees = sees & _within(distance, left, heads)
    if right is not None:
        sees = sees & _within(-distance, right, heads)
    if mask is not None:
        sees = sees & np.broadcast_to(dense_mask(mask), shape)
    if key_mask is not None:
        there = np.asarray(key_mask).astype(np.bool_)
        sees = sees & np.broadcast_to(there, (*batch, keys))[..., np.newaxis, np.newaxis, :]
    if bias is not None:
        sees = sees & (np.broadcast_to(values(bias), shape) != -np.inf)
    return sees


def dense_mask(mask: ArrayLike | DenseMask) -> NDArray[np.bool_]:
    """Return a mask as an array of bool, whatever form it has."""
    to_dense = getattr(mask, "to_dense", None)
    dense = np.asarray(mask if to_dense is None else to_dense())
    if dense.dtype != np.bool_:
        raise TypeError(f"mask must be bool, not {dense.dtype}; floats to be added are a bias")
    return dense


def _within(
    distance: NDArray[Any], side: int | NDArray[Any] | Sequence[int | None], heads: int
) -> NDArray[np.bool_] | np.bool_:
    """Which keys one side of a window leaves: a limit, or one for each head."""
    if isinstance(side, (list, tuple)):
        if len(side) != heads:
            raise ValueError(f"window has a side of {len(side)} limits for {heads} heads")
        each = [np.broadcast_to(limit is None or _within(distance, limit, heads), distance.shape)
                for limit in side]  # fmt: skip
        return np.concatenate(each, axis=-3) if distance.ndim > 2 else np.stack(each)
    limits = np.asarray(side)
    if limits.ndim == 0:
        limit = int(limits.item())
        return np.bool_(True) if limit >= UNLIMITED else distance <= limit
    if limits.shape != (heads,) or limits.dtype.kind not in "iu" or (limits < -1).any():
        raise ValueError(f"window has a side of {limits!r}; give integers >= -1, one for each head")
    limits = limits[:, np.newaxis, np.newaxis]
    near: NDArray[np.bool_] = (limits == -1) | (limits >= UNLIMITED) | (distance <= limits)
    return near
