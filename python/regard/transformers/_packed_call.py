"""Attention within the pieces of a packed batch, which transformers names by ``cu_seq_lens_q``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

import regard
import regard.torch
from regard.torch._tensors import array_of
from regard.transformers import _watchers
from regard.transformers._lazy_mask import LazyMask
from regard.transformers._stats import count

# How many packed calls there were since `expected` began; None where none are expected.
_calls: ContextVar[list[int] | None] = ContextVar("regard packed calls", default=None)


@contextmanager
def expected() -> Iterator[list[int]]:
    """Refuse calls without pieces, as of a model that does not pass them on; counts the others."""
    token = _calls.set([0])
    try:
        calls = _calls.get()
        assert calls is not None
        yield calls
    finally:
        _calls.reset(token)


def refuse_unpacked(module: torch.nn.Module) -> None:
    """Refuse a call that would let packed texts see each other."""
    if _calls.get() is not None:
        raise NotImplementedError(
            f"packed: {type(module).__name__} does not pass cu_seq_lens_q on to attention.\n"
            "  Run this model on the padded batch."
        )


def options_within_pieces(mask: torch.Tensor | None, causal: bool) -> dict[str, Any]:
    """Read what the mask of the whole row says within each piece.

    Raises
    ------
    ValueError
        It says more than causal, a window, and that pieces do not see each other.
    """
    if mask is None:
        return {"causal": True} if causal else {}
    if isinstance(mask, LazyMask) and mask.within_pieces is not None:
        return {name: x for name, x in mask.within_pieces.items() if name != "query_offset"}
    raise ValueError(
        f'attn_implementation="regard": attention_mask {tuple(mask.shape)} comes together with '
        "cu_seq_lens_q.\n  Pieces need no mask: give attention_mask=None and position_ids."
    )


def run(
    tensors: dict[str, torch.Tensor],
    options: dict[str, Any],
    starts: tuple[torch.Tensor, torch.Tensor | None],
    row_sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Output (1, total, Hq, Dv) of query, key and value (1, heads, total, dim)."""
    count("call: packed")
    calls = _calls.get()
    if calls is not None:
        calls[0] += 1
    for name, x in tensors.items():
        if x.shape[0] != 1:
            raise ValueError(
                f'attn_implementation="regard": {name} has shape {tuple(x.shape)}, with '
                "cu_seq_lens_q.\n  A packed batch is one row: (1, heads, total, head_dim)."
            )
    rows = {name: x[0].transpose(0, 1) for name, x in tensors.items()}
    of_queries, of_keys = starts
    out, lse = regard.torch.varlen_attention(
        **rows, cu_seqlens_q=of_queries, cu_seqlens_k=of_queries if of_keys is None else of_keys,
        return_lse=True, **options,
    )  # fmt: skip
    if row_sinks is not None:
        kept = torch.sigmoid(lse.unsqueeze(-1) - row_sinks[0])  # (Hq, total, 1)
        out = (out * kept.transpose(0, 1)).to(out.dtype)
    packed: torch.Tensor = out.contiguous().unsqueeze(0)
    return packed


def watch(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    options: dict[str, Any],
    starts: tuple[torch.Tensor, torch.Tensor | None],
) -> None:
    """Let watchers see the row as a whole, where pieces do not see each other."""
    cuts = [array_of(starts[0] if at is None else at) for at in starts]
    numbers = [np.repeat(np.arange(len(at) - 1), np.diff(at)) for at in cuts]
    documents = regard.masks.documents(*numbers)
    _watchers.look(module, query, key, {**options, "mask": documents}, None)
