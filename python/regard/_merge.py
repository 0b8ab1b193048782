"""Attention over all keys from attention over parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._layout import Layout


def merge_states(
    outputs: Sequence[ArrayLike], lses: Sequence[ArrayLike], *, layout: str | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Merge attention of the same queries over several sets of keys into one.

    Each part is what `regard.attention` returns with ``return_lse=True``; the result is what it
    would return for all keys at once: ``out = Σ w O / Σ w`` and ``lse = m + log Σ w``, with
    ``w = exp(lse - m)`` and m the largest LSE.

    Parameters
    ----------
    outputs : sequence of array_like, each of shape (..., S, Dv)
        float32 or float64.
    lses : sequence of array_like, each of shape (..., S)
        The logarithms (natural) of the parts' softmax denominators. A part in which a query saw no
        key has -inf there, and its output does not matter.
    layout : str, optional
        What the axes of the outputs are, as in `regard.attention`; LSEs stay by head.

    Returns
    -------
    out : ndarray, shape (..., S, Dv)
        In the widest dtype of the outputs; 0 where all parts have -inf.
    lse : ndarray, shape (..., S)
        In the widest dtype of the LSEs; -inf there.

    Raises
    ------
    ValueError
        There are no parts, not as many LSEs as outputs, or their shapes differ.
    TypeError
        An array is neither float32 nor float64.

    Notes
    -----
    A sink belongs in exactly one of the parts. Sums are accumulated in float64 and rounded once.

    References
    ----------
    .. [1] Ye, Z. et al., "Cascade Inference: Memory Bandwidth Efficient Shared Prefix Batch
       Decoding", 2024.
    .. [2] Dao, T. et al., "Flash-Decoding for long-context inference", 2023.

    Examples
    --------
    Four sequences share a prefix of 100 keys, which is read once, for all their queries together:

    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> query = rng.standard_normal((4, 8, 1, 64))  # (sequences, heads, queries, head_dim)
    >>> prefix = rng.standard_normal((8, 100, 64))  # keys and values at once
    >>> own = rng.standard_normal((4, 8, 20, 64))
    >>> together = query[:, :, 0].swapaxes(0, 1)  # the sequences as queries of one
    >>> out, lse = regard.attention(together, prefix, prefix, return_lse=True)
    >>> shared = out.swapaxes(0, 1)[:, :, np.newaxis], lse.T[:, :, np.newaxis]
    >>> alone = regard.attention(query, own, own, return_lse=True)
    >>> out, lse = regard.merge_states(*zip(shared, alone))

    >>> keys = np.concatenate([np.broadcast_to(prefix, (4, 8, 100, 64)), own], axis=-2)
    >>> bool(np.allclose(out, regard.attention(query, keys, keys)))
    True
    """
    parts = [_floats(part, "outputs") for part in outputs]
    order = None if layout is None else Layout(layout, "merge_states")
    if order is not None:
        parts = [order.by_head(part, "outputs") for part in parts]
    logs = [_floats(lse, "lses") for lse in lses]
    if not parts or len(parts) != len(logs):
        raise ValueError(
            f"merge_states: {len(parts)} outputs and {len(logs)} lses.\n  Give one of each for "
            "every part."
        )
    shape = parts[0].shape
    for part, log in zip(parts, logs, strict=True):
        if part.shape != shape or log.shape != shape[:-1] or not shape:
            raise ValueError(
                f"merge_states: an output of shape {part.shape} with an lse of {log.shape}, and "
                f"the first output of {shape}.\n  Give outputs of one shape (..., S, Dv), and lses "
                "of (..., S)."
            )
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN and Inf are legal here
        largest = np.maximum.reduce([log.astype(np.float64) for log in logs])
        # Any finite maximum serves rows that saw nothing; -inf - -inf would make them NaN.
        largest[np.isneginf(largest)] = 0
        total = np.zeros(shape[:-1])
        merged = np.zeros(shape)
        for part, log in zip(parts, logs, strict=True):
            weight = np.exp(log - largest)
            total += weight
            # Select, do not multiply by zero: 0 * NaN would be NaN.
            saw_keys = ~np.isneginf(log)[..., np.newaxis]
            merged += np.where(saw_keys, part * weight[..., np.newaxis], 0)
        np.divide(merged, total[..., np.newaxis], out=merged, where=total[..., np.newaxis] != 0)
        lse = largest + np.log(total)
    merged = merged.astype(np.result_type(*parts))
    out = merged if order is None else order.as_given(merged)
    return out, lse.astype(np.result_type(*logs))


def _floats(values: ArrayLike, argument: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.char not in "fd":
        raise TypeError(
            f"merge_states: {argument} has dtype {array.dtype}.\n  Use float32 or float64."
        )
    return array
