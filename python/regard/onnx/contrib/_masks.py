"""Masks of the domain com.microsoft: numbers that are added to scores.

What is masked gets ``mask_filter_value`` added, -10000 if not said otherwise, so that a query whose
keys are all masked attends to them as if none were.
"""

from __future__ import annotations

import numpy as np

from regard.onnx._inputs import Array, check_float


def filtered(
    name: str,
    mask: Array | None,
    sizes: tuple[int, int, int, int],
    filter_value: float,
    *,
    starts: bool = False,
    square: bool = False,
) -> Array | None:
    """Return what a mask adds to scores, broadcastable to (batch, heads, queries, keys).

    Parameters
    ----------
    name : str
        For messages.
    mask : ndarray of int or None
        Numbers of keys (batch,), or (3 batch + 2,) with what packed batches need behind them; 1
        for keys that count and 0 for others, (batch, keys) or (batch, queries, keys).
    sizes : batch, queries, keys, keys of the past
    filter_value : float
    starts : bool
        Whether the mask may be ends and starts of what counts, (2 batch,).
    square : bool
        Whether it may be (batch, 1, most, most), for queries and keys from the first token on.
    """
    if mask is None:
        return None
    batch, queries, keys, past = sizes
    shapes = [(batch,), (3 * batch + 2,), (batch, keys), (batch, queries, keys)]
    if starts:
        shapes.insert(1, (2 * batch,))
    whole = square and mask.ndim == 4 and mask.shape[:2] == (batch, 1)
    whole = whole and mask.shape[2] == mask.shape[3] >= keys
    if mask.dtype.kind not in "iub" or not (mask.shape in shapes or whole):
        listed = ", ".join(map(str, shapes)) + (f", or ({batch}, 1, M, M)" if square else "")
        raise ValueError(
            f"attention: {name} has dtype {mask.dtype}, shape {mask.shape}.\n  Give integers of "
            f"shape {listed}."
        )
    if mask.ndim == 1:
        j = np.arange(keys)
        sees = j < mask[:batch, np.newaxis]
        if starts and len(mask) == 2 * batch:
            sees = sees & (j >= mask[batch:, np.newaxis])
        sees = sees[:, np.newaxis, np.newaxis]
    elif mask.ndim == 2:
        sees = (mask > 0)[:, np.newaxis, np.newaxis]
    elif mask.ndim == 3:
        sees = (mask > 0)[:, np.newaxis]
    else:
        sees = mask[:, :, past : past + queries, :keys] > 0
    added_to: Array = np.where(sees, np.float32(0), np.float32(filter_value))
    return added_to


def check_bias(bias: Array | None, query: Array, keys: int) -> None:
    """Refuse an attention_bias that is not (batch or 1, heads or 1, queries, keys)."""
    if bias is None:
        return
    check_float("attention_bias", bias, "query", query.dtype)
    batch, heads, queries = query.shape[:3]
    fits = bias.ndim == 4 and bias.shape[2:] == (queries, keys)
    if not fits or bias.shape[0] not in (1, batch) or bias.shape[1] not in (1, heads):
        raise ValueError(
            f"attention: attention_bias has shape {bias.shape}.\n  Give (batch or 1, heads or 1, "
            f"queries, keys), of {(batch, heads, queries, keys)}."
        )


def added(*parts: Array | None) -> Array | None:
    """Sum of what is added to scores, None if nothing is."""
    some = [x for x in parts if x is not None]
    if len(some) < 2:
        return some[0] if some else None
    return sum(x.astype(np.float32) for x in some[1:]) + some[0].astype(np.float32)
