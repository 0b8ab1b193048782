"""Attention over packed pieces of unequal length: each piece by itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import Array, DenseMask
from regard.reference._softmax import attend
from regard.reference._stored import check_pages, stored, values, write
from regard.reference._visible import dense_mask


def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None,
    *,
    key_scales: ArrayLike | None = None,
    value_scales: ArrayLike | None = None,
    block_table: ArrayLike | None = None,
    mask: ArrayLike | DenseMask | None = None,
    bias: ArrayLike | None = None,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
    **options: Any,
) -> NDArray[Any] | tuple[NDArray[Any], Array]:
    """Attend within each piece of a packed batch, one piece after the other.

    Parameters
    ----------
    query : array_like, shape (Tq, Hq, D)
    key : array_like, shape (Tk, Hkv, D)
    value : array_like, shape (Tk, Hkv, Dv)
    cu_seqlens_q, cu_seqlens_k : array_like of int, shape (pieces + 1,)
        Piece n holds rows cu_seqlens[n] up to cu_seqlens[n + 1]; from 0 to Tq or Tk, never falling.
        With a block_table, whose elements are the pieces, cu_seqlens_k is None.
    key_scales, value_scales : array_like of float, shape (Tk, Hkv), optional
    block_table : array_like of int, shape (pieces, blocks), optional
        See :func:`stored`. Needs key_lengths.
    mask, bias : broadcast to (pieces, Hq, max_q, max_k)
        As for :func:`attention`; max_q and max_k are the largest lengths of any piece, and a
        shorter piece takes the upper left corner.
    return_lse, out
        As for :func:`attention`.
    **options
        The other options of :func:`attention`. The pieces are their batch axis; in dropout, the
        number of the piece is the number of the element.

    Returns
    -------
    output : ndarray of float64, shape (Tq, Hq, Dv); or ``out``
    lse : ndarray of float64, shape (Hq, Tq)
        Only with ``return_lse=True``.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> x = np.arange(5.0).reshape(5, 1, 1)
    >>> reference.varlen_attention(x, x, x, [0, 2, 5], [0, 2, 5], scale=0.0).ravel()
    array([0.5, 0.5, 3. , 3. , 3. ])
    """
    q = values(query)
    cuts = cuts_of("cu_seqlens_q", cu_seqlens_q, len(q))
    pieces, heads = len(cuts) - 1, q.shape[1]
    if block_table is not None:
        check_pages(block_table, options.get("key_lengths"), np.shape(key)[1])
        keys = list(stored(key, key_scales, block_table))
        in_values = list(stored(value, value_scales, block_table))
    else:
        keys, in_values = (
            pieces_of("cu_seqlens_k", cu_seqlens_k, stored(x, scales))
            for x, scales in ((key, key_scales), (value, value_scales))
        )
    if len(keys) != pieces:
        raise ValueError(f"cu_seqlens_q has {pieces} pieces, and there are {len(keys)} of keys")
    longest = [int(np.diff(cuts).max(initial=0)), max((k.shape[1] for k in keys), default=0)]
    by_piece = ByPiece((pieces, heads, *longest), cuts, mask, bias, options)

    o, lse = np.empty((len(q), heads, np.shape(value)[-1])), np.empty((heads, len(q)))
    for n in range(pieces):
        rows = slice(*cuts[n : n + 2])
        part, part_lse = attend(
            q[rows].swapaxes(0, 1)[np.newaxis], keys[n][np.newaxis], in_values[n][np.newaxis],
            **by_piece.options(n, keys[n].shape[1]),
        )  # fmt: skip
        o[rows], lse[:, rows] = part[0].swapaxes(0, 1), part_lse[0]
    if out is not None:
        write(out, o)
    result = o if out is None else out
    return (result, lse) if return_lse else result


class ByPiece:
    """The options of pieces, each of which is a batch of one."""

    def __init__(
        self,
        shape: tuple[int, ...],
        cuts: NDArray[np.int64],
        mask: ArrayLike | DenseMask | None,
        bias: ArrayLike | None,
        options: dict[str, Any],
    ) -> None:
        self._alike = {
            name: x for name, x in options.items() if name not in ("num_threads", "layout")
        }
        self._each: dict[str, Any] = {}
        if (key_mask := self._alike.pop("key_mask", None)) is not None:
            of_pairs = np.asarray(key_mask).astype(np.bool_)[..., np.newaxis, np.newaxis, :]
            mask = of_pairs if mask is None else dense_mask(mask) & of_pairs
        if mask is not None:
            self._each["mask"] = np.broadcast_to(dense_mask(mask), shape)
        if bias is not None:
            self._each["bias"] = np.broadcast_to(bias, shape)
        self._cuts = cuts
        self._by_row = self._alike.pop("query_scale", None)
        if self._by_row is not None:
            self._by_row = np.broadcast_to(self._by_row, (shape[1], int(cuts[-1])))
        for name in ("key_lengths", "query_lengths", "query_offset", "alibi_slopes"):
            if options.get(name) is not None:
                per_piece = shape[:2] if name == "alibi_slopes" else shape[:1]
                self._each[name] = np.broadcast_to(self._alike.pop(name), per_piece)

    def options(self, n: int, keys: int) -> dict[str, Any]:
        """Return those of piece n."""
        first, last = self._cuts[n : n + 2]
        corner = (..., slice(last - first), slice(keys))
        own = {
            name: x[n : n + 1][corner] if name in ("mask", "bias") else x[n : n + 1]
            for name, x in self._each.items()
        }
        if self._by_row is not None:
            own["query_scale"] = self._by_row[np.newaxis, :, first:last]
        return {"elements": np.array([n]), **own, **self._alike}


def pieces_of(name: str, cuts: ArrayLike | None, x: Array) -> list[Array]:
    """Cut (total, heads, dim) into pieces of (heads, length, dim)."""
    starts = cuts_of(name, () if cuts is None else cuts, len(x))
    return [x[first:last].swapaxes(0, 1) for first, last in pairwise(starts)]


def cuts_of(name: str, cuts: ArrayLike, total: int) -> NDArray[np.int64]:
    """Check where the pieces begin and end."""
    a = np.asarray(cuts)
    if a.ndim != 1 or a.dtype.kind not in "iu" or len(a) == 0:
        raise ValueError(f"{name} must be one axis of integers, with at least the 0")
    if a[0] != 0 or a[-1] != total or (np.diff(a.astype(np.int64)) < 0).any():
        raise ValueError(f"{name} must begin with 0, never fall, and end with {total}")
    return a.astype(np.int64)
