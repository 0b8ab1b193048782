"""What a `LatentKVCache` is given, checked: its sizes, and parts of rows to append."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.cache import _check
from regard.cache._layout import Layout


def checked_layout(
    call: str,
    batch: Any,
    latent_dim: Any,
    rope_dim: Any,
    capacity: Any,
    dtype: Any,
    window: Any,
    sink_tokens: Any,
) -> Layout:
    """Lay rows out as keys of one head, whose first columns are its values."""
    latent_dim = _check.whole(latent_dim, "latent_dim", call, 1)
    head_dim = latent_dim + _check.whole(rope_dim, "rope_dim", call, 1)
    return Layout.checked(
        call, batch, 1, head_dim, capacity, dtype, latent_dim, window, sink_tokens, latent=True
    )


def new_part(array: ArrayLike, name: str, batch: int, dim: int) -> NDArray[Any]:
    """Check tokens to append, latent or rope_key: (batch, n, dim)."""
    rows = _check.rows(array, name)
    if rows.ndim == 2 and batch == 1:
        rows = rows[np.newaxis]
    if rows.ndim != 3 or (rows.shape[0], rows.shape[2]) != (batch, dim):
        raise ValueError(
            f"append: {name} has shape {np.shape(array)}.\n  The cache takes (batch={batch}, "
            f"tokens, {'latent_dim' if name == 'latent' else 'rope_dim'}={dim})."
        )
    return rows
