"""Attention over packed pieces of unequal length: each piece by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import Array, DenseMask
from regard.reference._softmax import attend
from regard.reference._visible import dense_mask


def varlen_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    *,
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
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (query, key, value))
    o, lse = np.empty((len(q), q.shape[1], v.shape[-1])), np.empty((q.shape[1], len(q)))
    for rows, keys, own in pieces(q, k, cu_seqlens_q, cu_seqlens_k, mask, bias, options):
        part, part_lse = attend(
            one_element(q[rows]), one_element(k[keys]), one_element(v[keys]), **own
        )
        o[rows], lse[:, rows] = part[0].swapaxes(0, 1), part_lse[0]
    if out is not None:
        out[...] = o
    result = o if out is None else out
    return (result, lse) if return_lse else result


def pieces(
    q: Array,
    k: Array,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    mask: ArrayLike | DenseMask | None,
    bias: ArrayLike | None,
    options: dict[str, Any],
) -> Iterator[tuple[slice, slice, dict[str, Any]]]:
    """Yield the queries, keys and options of each piece, which is a batch of one."""
    cuts_q, cuts_k = (
        _cuts("cu_seqlens_q", cu_seqlens_q, len(q)),
        _cuts("cu_seqlens_k", cu_seqlens_k, len(k)),
    )
    count = len(cuts_q) - 1
    if len(cuts_k) - 1 != count:
        raise ValueError(f"cu_seqlens_q has {count} pieces and cu_seqlens_k {len(cuts_k) - 1}")
    heads = q.shape[1]
    longest = [int(np.diff(cuts).max(initial=0)) for cuts in (cuts_q, cuts_k)]
    pairs = (count, heads, *longest)
    options = {name: x for name, x in options.items() if name != "num_threads"}
    broadcast: dict[str, Any] = {}
    if mask is not None:
        broadcast["mask"] = np.broadcast_to(dense_mask(mask), pairs)
    if bias is not None:
        broadcast["bias"] = np.broadcast_to(bias, pairs)
    for name in ("key_lengths", "query_lengths", "query_offset", "alibi_slopes"):
        if options.get(name) is not None:
            per_piece = (count, heads) if name == "alibi_slopes" else (count,)
            broadcast[name] = np.broadcast_to(options.pop(name), per_piece)
    for n in range(count):
        rows, keys = slice(*cuts_q[n : n + 2]), slice(*cuts_k[n : n + 2])
        corner = (..., slice(rows.stop - rows.start), slice(keys.stop - keys.start))
        own = {
            name: x[n : n + 1][corner] if name in ("mask", "bias") else x[n : n + 1]
            for name, x in broadcast.items()
        }
        yield rows, keys, {"elements": np.array([n]), **own, **options}


def one_element(x: Array) -> Array:
    """(length, heads, dim) as a batch of one, so that options by element keep their axis."""
    element: Array = x.swapaxes(0, 1)[np.newaxis]
    return element


def _cuts(name: str, cuts: ArrayLike, total: int) -> NDArray[np.int64]:
    """Check where the pieces begin and end."""
    a = np.asarray(cuts)
    if a.ndim != 1 or a.dtype.kind not in "iu" or len(a) == 0:
        raise ValueError(f"{name} must be one axis of integers, with at least the 0")
    if a[0] != 0 or a[-1] != total or (np.diff(a.astype(np.int64)) < 0).any():
        raise ValueError(f"{name} must begin with 0, never fall, and end with {total}")
    return a.astype(np.int64)
