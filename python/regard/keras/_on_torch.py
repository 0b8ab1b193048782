"""On tensors of PyTorch."""

from __future__ import annotations

from typing import Any

import torch

import regard.torch


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
    if seed is not None:
        high, low = seed.to(torch.int64).unbind()
        seed = ((high & 0x7FFFFFFF) << 32) | low
    out, lse = regard.torch.attention(
        query, key, value, mask=mask, causal="upper_left" if causal else False,
        window=None if window is None else window - 1, query_offset=0, scale=scale,
        dropout=dropout, seed=seed, layout="BSHD", return_lse=True,
    )  # fmt: skip
    return out, lse.detach()
