"""Gradients over packed pieces of unequal length: those of each piece by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regard.reference._gradients import Gradients, gradients, sum_to
from regard.reference._shapes import Array, DenseMask
from regard.reference._varlen import one_element, pieces


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
    q, k, v, do = (np.asarray(x, dtype=np.float64) for x in (query, key, value, dout))
    dl = np.zeros((q.shape[1], len(q))) if dlse is None else np.asarray(dlse, np.float64)
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    cuts = np.asarray(cu_seqlens_q), np.asarray(cu_seqlens_k)
    # What pieces share gathers here, with an entry for each piece until the end.
    shared: dict[str, Array] = {}
    for name, x in (("bias", bias), ("alibi_slopes", options.get("alibi_slopes"))):
        if x is not None:
            longest = tuple(int(np.diff(c).max(initial=0)) for c in cuts)
            own = (q.shape[1], *longest) if name == "bias" else (q.shape[1],)
            shared[name] = np.zeros((len(cuts[0]) - 1, *own))
    for name, x in (
        ("sinks", options.get("sinks")),
        ("position_bias", options.get("position_bias")),
    ):
        if x is not None:
            shared[name] = np.zeros(np.shape(x) if name == "sinks" else x.table.shape)
    for n, (rows, keys, own_options) in enumerate(pieces(q, k, *cuts, mask, bias, options)):
        part = gradients(
            one_element(do[rows]), one_element(q[rows]), one_element(k[keys]),
            one_element(v[keys]), dlse=dl[np.newaxis, :, rows], **own_options,
        )  # fmt: skip
        for total, own_part, at in (
            (dq, part.query, rows),
            (dk, part.key, keys),
            (dv, part.value, keys),
        ):
            total[at] = own_part[0].swapaxes(0, 1)
        if part.bias is not None:
            sq, sk = part.bias.shape[-2:]
            shared["bias"][n, :, :sq, :sk] = part.bias[0]
        if part.alibi_slopes is not None:
            shared["alibi_slopes"][n] = part.alibi_slopes[0]
        for name in ("sinks", "position_bias"):
            if name in shared:
                shared[name] += getattr(part, name)
    return Gradients(
        dq,
        dk,
        dv,
        sum_to(shared["bias"], np.shape(bias)) if bias is not None else None,
        shared.get("sinks"),
        sum_to(shared["alibi_slopes"], np.shape(options["alibi_slopes"]))
        if "alibi_slopes" in shared
        else None,
        shared.get("position_bias"),
    )
