"""Sparse attention whose keys the model has chosen: DeepSeek's by token, MiniMax's by block.

Eager attention and sdpa get the choice as a mask from the model; every other implementation gets it
as numbers, and would attend to all keys if it did not look at them.
"""

from __future__ import annotations

from typing import Any

import torch

from regard.transformers._stats import count


def only_selected(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    indices: torch.Tensor | None,
    block_indices: torch.Tensor | None,
    position_ids: torch.Tensor | None,
) -> torch.Tensor | None:
    """Hide all keys but those of `indices` (batch, Sq, keys) or of the blocks, on top of a mask."""
    if indices is not None:
        count("mask: selected keys")
        shape = (*indices.shape[:2], key.shape[2])
        kept = torch.zeros(shape, dtype=torch.bool).scatter(-1, indices.long(), True).unsqueeze(1)
        if mask is None:
            return kept
        mask = mask[..., : key.shape[2]]
        if mask.dtype == torch.bool:
            return mask & kept
        return mask.masked_fill(~kept, torch.finfo(mask.dtype).min)
    if block_indices is not None:
        count("mask: selected keys")
        if position_ids is None:
            position_ids = torch.arange(key.shape[2] - query.shape[2], key.shape[2])
        of_batch = position_ids.expand(query.shape[0], query.shape[2])
        made: torch.Tensor = module.indexer.build_block_mask(
            block_indices, mask, key.shape[2], query.dtype, query.device, of_batch
        )
        return made
    return mask
