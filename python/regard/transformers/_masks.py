"""The mask function that is registered with transformers: nothing of (Sq, Sk) without need."""

from __future__ import annotations

from typing import Any

import torch
from transformers.masking_utils import AttentionMaskInterface, causal_mask_function

from regard.transformers._lazy_mask import LazyMask
from regard.transformers._options import Place, by_position, dense_mask, mask_options
from regard.transformers._rules import UnknownMask, parse
from regard.transformers._stats import count, say_once
from regard.transformers._tensors import check_device

_MASKS = AttentionMaskInterface()


def attention_mask(**given: Any) -> torch.Tensor | None:
    """Make the mask of a batch, in the terms of `regard.attention`.

    Parameters
    ----------
    **given
        What ``transformers.masking_utils`` gives to every such function: batch_size, q_length and
        q_offset (cache_position in earlier versions), kv_length, kv_offset, mask_function,
        attention_mask, dtype and others.

    Returns
    -------
    LazyMask or None
        None where nothing is hidden and eager attention would have no mask either.
    """
    # A skipped mask leaves causality to the attribute is_causal of a module, whose word is not
    # always right: so only where eager attention has none.
    may_be_none = given.pop("allow_is_bidirectional_skip", False)
    causal_skip = given.pop("allow_is_causal_skip", True)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # nothing that depends on data
        skips = {"allow_is_causal_skip": causal_skip, "allow_is_bidirectional_skip": may_be_none}
        traced: torch.Tensor | None = _MASKS["sdpa"](**given, **skips)
        return traced
    place, padding = _place(given), given.get("attention_mask")
    if padding is not None:
        check_device(padding.device, "attention_mask")
        padding = padding.numpy().astype(bool, copy=False)
    within_pieces = None
    try:
        rule = parse(given.get("mask_function", causal_mask_function))
        route, options = mask_options(rule, place, padding)
        if padding is None and rule.blocks is None and rule.chunk_size is None:
            within_pieces = by_position(rule, place)

        def seen() -> Any:
            return dense_mask(rule, place, padding)
    except UnknownMask as unknown:
        dense = _MASKS["sdpa"](**given, allow_is_causal_skip=False).numpy()
        route, options = "dense", {"mask": dense}

        def seen() -> Any:
            return dense

        say_once(
            f'attn_implementation="regard": the mask function {unknown} is not known.\n'
            "  transformers makes a mask of (batch, 1, queries, keys), which takes memory and "
            "time; regard.transformers.stats() counts them."
        )
    count(f"mask: {route}")
    if not options and may_be_none:
        return None
    dtype = given.get("dtype", torch.float32)

    def additive() -> torch.Tensor:
        hidden = torch.from_numpy(~seen())
        return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)

    shape = (place.batch, 1, place.queries, place.keys)
    return LazyMask(options, additive, shape, dtype, within_pieces)


def _place(given: dict[str, Any]) -> Place:
    """Where queries and keys stand, in the words of this or an earlier transformers."""
    positions = given.get("cache_position")
    if positions is not None:
        queries, start = positions.shape[0], positions[0]
    else:
        queries, start = given["q_length"], given.get("q_offset", 0)
    device = given.get("device", "cpu") if positions is None else positions.device
    check_device(torch.device(device), "the input of the model")
    return Place(
        batch=given["batch_size"],
        queries=queries,
        keys=given["kv_length"],
        query_start=int(start),  # a tensor, of static caches
        key_start=int(given.get("kv_offset", 0)),
    )
