"""Gradients over packed pieces of unequal length: those of each piece by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regard.reference._gradients import Gradients, gradients, sum_to
from regard.reference._shapes import DenseMask
from regard.reference._stored import values
from regard.reference._varlen import ByPiece, cuts_of


def varlen_gradients(
    dout: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    *,
    dlse: ArrayLike | None = None,
    mask: ArrayLike | DenseMask | None = None,
    bias: ArrayLike | None = None,
    **options: Any,
) -> Gradients:
    """Compute :func:`gradients` of :func:`varlen_attention`.

    Parameters
    ----------
    dout : array_like, shape (Tq, Hq, Dv)
    query, key, value, cu_seqlens_q, cu_seqlens_k, mask, bias
        As for :func:`varlen_attention`.
    dlse : array_like, shape (Hq, Tq), optional
    **options
        The other options of :func:`varlen_attention`.

    Returns
    -------
    Gradients
    """
    q, k, v, do = (values(x) for x in (query, key, value, dout))
    dl = np.zeros((q.shape[1], len(q))) if dlse is None else np.asarray(dlse, np.float64)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    cuts = (
        cuts_of("cu_seqlens_q", cu_seqlens_q, len(q)),
        cuts_of("cu_seqlens_k", cu_seqlens_k, len(k)),
    )
    longest = tuple(int(np.diff(c).max(initial=0)) for c in cuts)
    shape = len(cuts[0]) - 1, q.shape[1], *longest
    by_piece = ByPiece(shape, cuts[0], mask, bias, options)
    slopes, sinks, table = (options.get(n) for n in ("alibi_slopes", "sinks", "position_bias"))
    # Of each piece, or of all together.
    dbias, dslopes = np.zeros(shape), np.zeros(shape[:2])
    dsinks = np.zeros(np.shape(sinks)) if sinks is not None else None
    dtable = np.zeros(table.table.shape) if table is not None else None
    factors = options.get("query_scale")
    dfactors = np.zeros((q.shape[1], len(q)))
    for n in range(shape[0]):
        rows, keys = (slice(*c[n : n + 2]) for c in cuts)
        own = [x.swapaxes(0, 1)[np.newaxis] for x in (do[rows], q[rows], k[keys], v[keys])]
        sizes = rows.stop - rows.start, keys.stop - keys.start
        part = gradients(*own, dlse=dl[np.newaxis, :, rows], **by_piece.options(n, sizes[1]))
        dq[rows], dk[keys], dv[keys] = (
            x[0].swapaxes(0, 1) for x in (part.query, part.key, part.value)
        )
        if part.bias is not None:
            dbias[n, :, : sizes[0], : sizes[1]] = part.bias[0]
        if part.alibi_slopes is not None:
            dslopes[n] = part.alibi_slopes[0]
        if part.query_scale is not None:
            dfactors[:, rows] = part.query_scale[0]
        if dsinks is not None:
            dsinks += part.sinks
        if dtable is not None:
            dtable += part.position_bias
    return Gradients(
        dq,
        dk,
        dv,
        sum_to(dbias, np.shape(bias)) if bias is not None else None,
        dsinks,
        sum_to(dslopes, np.shape(slopes)) if slopes is not None else None,
        dtable,
        sum_to(dfactors, np.shape(factors)) if factors is not None else None,
    )
