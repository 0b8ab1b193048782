"""TEMPORARY stand-in for _core.store."""

from __future__ import annotations
from typing import Any
import numpy as np
from numpy.typing import NDArray


def store(source: NDArray[Any], target: NDArray[Any], scales: NDArray[Any] | None) -> None:
    from regard._bfloat16 import is_bfloat16, to_bfloat16, to_float32, MARKER

    if is_bfloat16(source.dtype):
        source = to_float32(source)
    if target.dtype == MARKER:
        target.view(np.uint16)[...] = to_bfloat16(source, MARKER).view(np.uint16)
        return
    if scales is None:
        target[...] = source
        return
    x = source.astype(np.float32)
    scale = np.abs(x).max(-1) / np.float32(127)
    scales[...] = scale
    with np.errstate(all="ignore"):
        q = np.rint(x / scale[..., None])
    target[...] = np.where(scale[..., None] == 0, 0, q)


def varlen_attention(
    query, key, value, cu, _, *, block_table, key_lengths, return_lse=False, out=None, **options
):
    import regard

    counts = np.diff(cu)
    if not len(counts):
        e = np.zeros((0, query.shape[1], value.shape[-1]), query.dtype)
        return (
            (
                e,
                np.zeros(
                    (query.shape[1], 0), np.float64 if query.dtype == np.float64 else np.float32
                ),
            )
            if return_lse
            else e
        )
    most = int(counts.max(initial=0))
    padded = np.zeros((len(counts), query.shape[1], most, query.shape[2]), query.dtype)
    for n, c in enumerate(counts):
        padded[n, :, :c] = query[cu[n] : cu[n + 1]].swapaxes(0, 1)
    ql = options.pop("query_lengths", counts)
    o, l = regard.attention(
        padded,
        key,
        value,
        block_table=block_table,
        key_lengths=key_lengths,
        query_lengths=ql,
        return_lse=True,
        **options,
    )
    o = np.concatenate([o[n, :, :c].swapaxes(0, 1) for n, c in enumerate(counts)])
    l = np.concatenate([l[n, :, :c] for n, c in enumerate(counts)], 1)
    if out is not None:
        out[...] = o
        o = out
    return (o, l) if return_lse else o
