"""On arrays of NumPy; Keras has no gradients there."""

from __future__ import annotations

from typing import Any

import numpy as np

import regard


def options_of(
    mask: Any, causal: bool, window: int | None, scale: float, dropout: float, seed: Any
) -> dict[str, Any]:
    """Options of `regard.attention` on arrays (batch, tokens, heads, dim)."""
    given: dict[str, Any] = {"scale": scale, "layout": "BSHD", "query_offset": 0}
    if mask is not None:
        given["mask"] = np.asarray(mask)
    if causal:
        given["causal"] = "upper_left"
    if window is not None:
        given["window"] = window - 1
    if seed is not None:
        high, low = (int(x) for x in np.asarray(seed))
        given.update(dropout=dropout, seed=(high << 32 | low) % 2**64)
    return given


def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    causal: bool,
    window: int | None,
    scale: float,
    dropout: float,
    seed: Any,
) -> tuple[Any, Any]:
    """Output and LSE; the arguments are those of `regard.keras._attend.attend`."""
    options = options_of(mask, causal, window, scale, dropout, seed)
    out, lse = regard.attention(query, key, value, return_lse=True, **options)
    return out, lse
