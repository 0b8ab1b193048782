"""Packed pieces, as the core takes them: heads in front, and where each piece begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from regard import _core
from regard._arrays import coerce
from regard._call.core_options import core_options
from regard._call.layout import kept_role
from regard._call.padding import check_packed_key_mask

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from regard._core import _Options as CoreOptions


def packed_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike | None,
    options: dict[str, Any],
    return_lse: bool,
    out: NDArray[Any] | None,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Compute, and bring the output back to (total, heads, dim)."""
    q, k, v, core = packed_call(query, key, value, cu_seqlens_q, cu_seqlens_k, options)
    wanted = (q.shape[1], q.shape[0], v.shape[-1])
    if isinstance(out, np.ndarray) and out.shape != wanted:
        raise ValueError(
            f"attention: out has shape {out.shape}; the result has {wanted}.\n  Give an array of "
            "exactly that shape: (total queries, heads, value_dim)."
        )
    if out is None:
        out = np.empty(wanted, q.dtype)
    by_head = out.swapaxes(0, 1) if isinstance(out, np.ndarray) else out
    result = _core.attention(q, k, v, core, return_lse, by_head)
    return (out, result[1]) if isinstance(result, tuple) else out


def packed_call(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike | None,
    cu_seqlens_k: ArrayLike | None,
    options: dict[str, Any],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], CoreOptions]:
    """Packed arrays and options as the core takes them."""
    if options.get("layout") not in (None, "SHD"):
        raise ValueError(
            f"attention: layout is {options['layout']!r}.\n  Packed pieces are always (total, "
            "heads, dim), 'SHD'."
        )
    if options.get("key_mask") is not None:
        check_packed_key_mask(options["key_mask"], cu_seqlens_k)
    q = _by_head(query, "query", "input")
    core = cast("dict[str, Any]", core_options(q, None, options))
    if cu_seqlens_k is None and "block_table" not in core:
        raise ValueError(
            "attention: cu_seqlens_k is missing.\n  Say where the keys of each piece begin; only "
            "those in pages, with a block_table, need none."
        )
    k, v = _kept(key, "key", q, core), _kept(value, "value", q, core)
    for name, starts in (("cu_seqlens_q", cu_seqlens_q), ("cu_seqlens_k", cu_seqlens_k)):
        if starts is not None:
            core[name] = starts
    return q, k, v, cast("CoreOptions", core)


def _kept(
    array: ArrayLike, argument: str, query: NDArray[Any], core: dict[str, Any]
) -> NDArray[Any]:
    """Keys or values by head, and their scales in `core` likewise; pages as they are."""
    scales = f"{argument}_scales"
    role = kept_role(query, core.get(scales))
    if "block_table" in core:
        return coerce(array, argument, role)
    if scales in core:
        core[scales] = coerce(core[scales], scales, "scales").T
    return _by_head(array, argument, role)


def _by_head(array: ArrayLike, argument: str, role: str) -> NDArray[Any]:
    """As (heads, total, dim), without a copy."""
    rows = coerce(array, argument, role)
    if rows.ndim != 3:
        raise ValueError(
            f"attention: {argument} has shape {rows.shape}.\n  Packed pieces are (total, heads, "
            "dim), one piece after the other."
        )
    by_head: NDArray[Any] = rows.swapaxes(0, 1)
    return by_head
