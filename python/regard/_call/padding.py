"""Padded batches: what a mask of the keys becomes, and a call that is likely to mean another one.

In a padded batch positions are places in the frame that all elements share. A mask that is a run of
leading keys becomes lengths, so that nothing is computed for what is padding; any other joins the
call's own mask.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regard._arrays import coerce

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from regard.masks import BlockMask

    Mask: TypeAlias = NDArray[np.bool_]


def apply_key_mask(
    core: dict[str, Any], key_mask: Any, query: ArrayLike, key: ArrayLike | None
) -> None:
    """Add what a mask of the keys means to the options of the core.

    Parameters
    ----------
    core : dict
        The other options, converted.
    key_mask : array_like of bool or of 0 and 1, shape (..., Sk)
    query : array_like
    key : array_like, optional
        None if its rows are packed.

    Raises
    ------
    TypeError, ValueError
        It is of another type, or does not fit the keys.
    """
    seen = _checked(key_mask)
    by_core = seen.ndim > 0 and (key is None or "block_table" in core)  # checked as a mask
    if not by_core:
        _check_shape(seen, np.shape(query), () if key is None else np.shape(key))
        if seen.all():
            return
    lengths = seen.sum(axis=-1)
    is_run = bool((seen == (np.arange(seen.shape[-1]) < lengths[..., np.newaxis])).all())
    if is_run and not by_core and "key_lengths" not in core:
        core["key_lengths"] = lengths
        if core.get("causal") != 2 and "query_offset" not in core:
            queries: Any = core.get("query_lengths")
            if queries is None:
                queries = _count_queries(query)
            core["query_offset"] = seen.shape[-1] - np.asarray(queries)
    else:
        _join(core, seen)


def _checked(key_mask: Any) -> Mask:
    seen = np.asarray(coerce(key_mask, "key_mask", "bits"))
    # Tokenizers write 0 and 1.
    if seen.dtype.kind in "iu" and ((seen == 0) | (seen == 1)).all():
        seen = seen.astype(np.bool_)
    if seen.dtype != np.bool_:
        raise TypeError(
            f"attention: key_mask has dtype {seen.dtype}.\n  Give bool, True = a token, or the 0 "
            "and 1 of a tokenizer's attention_mask."
        )
    return seen


def check_packed_key_mask(key_mask: Any, cu_seqlens_k: ArrayLike | None) -> None:
    """Refuse a mask that is not over the longest of the pieces; starts are checked elsewhere.

    Raises
    ------
    ValueError
        It has other axes than (pieces, longest keys).
    """
    cuts = np.asarray(() if cu_seqlens_k is None else coerce(cu_seqlens_k, "cu_seqlens_k", "bits"))
    if cuts.ndim != 1 or cuts.size < 2 or cuts.dtype.kind not in "iu":
        return
    shape, pieces = np.shape(key_mask), cuts.size - 1
    longest = int(np.diff(cuts.astype(np.int64)).max())
    if shape not in ((longest,), (1, longest), (pieces, longest)):
        raise ValueError(
            f"attention: key_mask has shape {shape}; there are {pieces} pieces of at most "
            f"{longest} keys.\n  Give ({pieces}, {longest}), or ({longest},) for all."
        )


def _check_shape(seen: Mask, of_query: tuple[int, ...], of_key: tuple[int, ...]) -> None:
    batch = max(of_query[:-3], of_key[:-3], key=len)
    lead = zip(reversed(seen.shape[:-1]), reversed(batch), strict=False)
    fits = 0 < seen.ndim <= len(batch) + 1 and seen.shape[-1:] == of_key[-2:-1]
    if not fits or any(n not in (1, m) and m != 1 for n, m in lead):
        raise ValueError(
            f"attention: key_mask has shape {seen.shape}; query has {of_query}, key {of_key}.\n"
            "  Give (batch, keys), or (keys,) for all."
        )


def _count_queries(query: ArrayLike) -> int:
    shape = np.shape(query)
    return int(shape[-2]) if len(shape) > 1 else 1


def _join(core: dict[str, Any], seen: Mask) -> None:
    """AND it with the mask that the core has, in whichever form that is."""
    of_pairs = seen[..., np.newaxis, np.newaxis, :]
    if "packed_mask" in core:
        bits = np.packbits(of_pairs, axis=-1, bitorder="little")
        core["packed_mask"] = coerce(core["packed_mask"], "mask", "bits") & bits
    elif "block_mask" in core:
        core["block_mask"] = core["block_mask"] & _in_blocks(seen, core["block_mask"])
    elif "mask" in core:
        core["mask"] = coerce(core["mask"], "mask", "mask") & of_pairs
    else:
        core["mask"] = of_pairs if seen.ndim > 1 else seen[np.newaxis, :]


def _in_blocks(seen: Mask, like: BlockMask) -> BlockMask:
    """As tiles: keys in the document of the queries, and in another one."""
    from regard.masks import documents

    of_queries = np.zeros((*seen.shape[:-1], like.shape[-2]), np.int64)
    return documents(of_queries, np.where(seen, 0, 1), block_size=like.block_size)


def warn_of_padding(core: dict[str, Any], query: ArrayLike, key: ArrayLike | None) -> None:
    """Warn of causal attention that leaves out queries of a batch padded on the right.

    Positions count from the element's own lengths: with key_lengths alone, all queries, padding
    among them, are taken to be the last ones.
    """
    if key is None or "block_table" in core or {"query_lengths", "query_offset"} & core.keys():
        return
    queries, keys = _count_queries(query), np.shape(key)[-2:-1]
    if queries < 2 or keys != (queries,):
        return
    lengths = np.asarray(coerce(core["key_lengths"], "key_lengths", "lengths"))
    if not lengths.size or lengths.min() == queries:
        return
    warnings.warn(
        "attention: causal=True with key_lengths takes the last query to be at the last key that "
        "counts, so that the first queries of shorter elements see nothing. For a batch padded on "
        "the right, give key_mask= in place of key_lengths, or causal='upper_left'; if it is what "
        "you mean, give query_offset.",
        UserWarning,
        stacklevel=_frames_of_ours(),
    )


def _frames_of_ours() -> int:
    """How far up the caller of the package is."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "regard":
        level, frame = level + 1, frame.f_back
    return level
