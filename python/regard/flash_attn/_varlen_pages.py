"""Packed queries, and keys in pages: `flash_attn_varlen_func` with a block_table."""

from __future__ import annotations

import numpy as np
import torch

import regard
from regard.flash_attn._pages import check_table
from regard.flash_attn._pieces import pieces
from regard.flash_attn._settings import Settings
from regard.flash_attn._shapes import check_pair, check_rank
from regard.flash_attn._tensors import check_floats, integers, to_numpy, to_torch


def attention_to_pages(
    function: str,
    inputs: dict[str, torch.Tensor],
    starts: dict[str, torch.Tensor],
    longest: dict[str, int],
    settings: Settings,
    block_table: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Check the arguments, and compute output and LSE; there are no gradients.

    Raises
    ------
    TypeError, ValueError
    """
    check_floats(function, inputs)
    q, k, v = inputs.values()
    check_rank(function, "q", q, ("total",))
    for name in ("k", "v"):
        check_rank(function, name, inputs[name], ("pages", "page_size"))
    check_pair(function, inputs, q, k, v, 0)
    (first, last), _ = pieces(function, starts, longest, (len(q), None))
    lengths = np.diff(last)
    table = integers(function, "block_table", block_table, (len(lengths), "blocks"))
    pages, size = k.shape[:2]
    check_table(function, table, pages, size, lengths, "cu_seqlens_k")
    for name, x in inputs.items():
        if torch.is_grad_enabled() and x.requires_grad:
            raise ValueError(
                f"{function}: {name} requires a gradient, and there is none with block_table.\n"
                f"  Give {name}.detach(), or call within torch.no_grad()."
            )
    if settings.dropout_p:
        raise ValueError(
            f"{function}: dropout_p is {settings.dropout_p} with block_table.\n  Pages are for "
            "inference: give 0."
        )
    options = settings.options(function, len(lengths), q.shape[1])
    out = torch.empty((*q.shape[:-1], v.shape[-1]), dtype=q.dtype)
    _, lse = regard.varlen_attention(
        to_numpy(q), to_numpy(k), to_numpy(v), first,
        block_table=table, key_lengths=lengths, out=to_numpy(out), return_lse=True, **options,
    )  # fmt: skip
    return out, to_torch(lse)
