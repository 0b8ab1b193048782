"""Weights, masks and themes as they are given to a picture; needs no matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Theme = Literal["light", "dark"]


def weights_of(function: str, weights: ArrayLike, ranks: dict[int, str]) -> Array:
    """Return weights as a float64 array of one of some ranks."""
    array: Array = np.array(weights, dtype=np.float64)
    if isinstance(weights, np.ma.MaskedArray):
        array[np.ma.getmaskarray(weights)] = np.nan
    if array.ndim not in ranks or 0 in array.shape:
        raise ValueError(
            f"{function}: weights has shape {array.shape}.\n  Give {' or '.join(ranks.values())}, "
            "of one batch element."
        )
    return array


def hide(function: str, weights: Array, mask: ArrayLike | None) -> None:
    """Put NaN where a mask is False."""
    if mask is None:
        return
    seen = np.asarray(mask)
    if seen.dtype != np.bool_:
        raise TypeError(
            f"{function}: mask is of {seen.dtype}.\n  Give bool, True where a query sees a key."
        )
    try:
        weights[~np.broadcast_to(seen, weights.shape)] = np.nan
    except ValueError:
        raise ValueError(
            f"{function}: mask has shape {seen.shape}, weights {weights.shape}.\n  Give a mask "
            "that broadcasts to weights."
        ) from None


def check_labels(function: str, name: str, labels: Sequence[str] | None, count: int) -> None:
    """Refuse labels that are not one for each position."""
    if labels is not None and len(labels) != count:
        raise ValueError(
            f"{function}: {len(labels)} {name} for {count} positions.\n"
            "  Give one for each, or None."
        )


def check_theme(function: str, theme: Any) -> None:
    """Refuse what is no theme."""
    if theme not in (None, "light", "dark"):
        raise ValueError(
            f"{function}: theme is {theme!r}.\n  Give 'light', 'dark', or None for the style that "
            "matplotlib is set to."
        )


def check_top(function: str, vmax: Any) -> None:
    """Refuse a top of the scale that is not above zero."""
    if vmax is not None and not 0 < vmax < float("inf"):
        raise ValueError(f"{function}: vmax is {vmax!r}.\n  Give a weight above 0, or None.")


def counts_of(function: str, extent: Any) -> tuple[int, int]:
    """Return the queries and keys that weights cover, as given."""
    counts = tuple(extent) if isinstance(extent, (tuple, list)) else ()
    if len(counts) == 2 and all(isinstance(n, (int, np.integer)) and n > 0 for n in counts):
        return int(counts[0]), int(counts[1])
    raise ValueError(
        f"{function}: extent is {extent!r}.\n  Give (queries, keys), the counts that weights "
        "covers."
    )
