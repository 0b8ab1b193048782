"""On arrays of JAX."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import regard.jax


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
        seed = seed[0] * np.uint32(2654435761) + seed[1]  # an odd factor: all of both counts
    out, lse = regard.jax.attention(
        query, key, value, mask=mask, causal="upper_left" if causal else False,
        window=None if window is None else window - 1, query_offset=0, scale=scale,
        dropout=dropout, seed=seed, layout="BSHD", return_lse=True,
    )  # fmt: skip
    return out, jax.lax.stop_gradient(lse)
