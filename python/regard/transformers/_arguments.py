"""What attention is given beside queries, keys, values and a mask: known, harmless, unknown."""

from __future__ import annotations

from typing import Any

import torch

from regard.transformers._stats import count, say_once
from regard.transformers._tensors import check_device

#: Keywords that models pass on to attention and that say nothing which it has to heed: windows are
#: in the mask already, and the rest is for other parts of a model.
HARMLESS = frozenset(
    {
        *("sliding_window", "attention_chunk_size"),
        *("position_embeddings", "cache_position", "seq_idx"),
        *("token_type_ids", "mm_token_type_ids", "max_length_q", "max_length_k"),
        *("cache", "past_key_values", "use_cache", "shared_kv_states"),
        *("output_hidden_states", "output_router_logits", "return_dict", "logits_to_keep"),
        *("num_items_in_batch", "training", "deterministic"),
    }
)


def check_keywords(others: dict[str, Any]) -> None:
    """Say which keywords are not looked at, if they are none that are known to be harmless."""
    for name, x in others.items():
        if x is None or x is False or name in HARMLESS:
            continue
        count(f"keyword: {name}")
        say_once(
            f'attn_implementation="regard": the keyword {name} is not known, and not looked at.\n'
            "  If it changes attention, results are other than eager's: compare with "
            "attn_implementation='eager'."
        )


def check_model(model: Any, function: str) -> None:
    """Refuse what has no modules."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(
            f"{function}: model is a {type(model).__name__}.\n  Give a model of transformers, or a "
            "torch.nn.Module that holds one."
        )


def check_tensors(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
    """Refuse what is not on the CPU, has no heads, or is of dtypes that attention does not mix."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        check_device(x.device, name)
        if x.ndim != 4:
            raise ValueError(
                f'attn_implementation="regard": {name} has shape {tuple(x.shape)}.\n'
                "  Attention of transformers is (batch, heads, length, head_dim)."
            )
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            f'attn_implementation="regard": query is {query.dtype}, key {key.dtype}, value '
            f"{value.dtype}.\n  Give the model one dtype, e.g. by model.to(torch.bfloat16)."
        )


def autocast(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cast as torch's own attention does under ``torch.autocast("cpu")``."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(x.to(dtype) if x.dtype == torch.float32 else x for x in tensors)
