"""Shapes of what a call returns, for graphs that are traced without numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from regard.torch._compute import STARTS, packed_shape
from regard.torch._encoding import given, names_in, word_in


def output_shapes(
    inputs: Sequence[torch.Tensor], tensors: Sequence[torch.Tensor], options: str
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Shapes of output and LSE, of an operator's arguments."""
    query, key, value = inputs
    names = names_in(options)
    if STARTS[0] in names:
        return packed_shape(query, value), (query.shape[1], query.shape[0])
    letters = word_in(options, "layout")
    if letters is not None:
        return _in_layout(letters, inputs)
    rows = query.shape[-2:-1]  # none, for a query that is a single one
    if given(options, "block_table"):
        lead: tuple[Any, ...] = query.shape[:-2]
    elif max(query.dim(), key.dim(), value.dim()) < 3:
        lead = ()
    else:
        heads = query.shape[-3] if query.dim() > 2 else 1
        batch = torch.broadcast_shapes(*(x.shape[:-3] for x in (query, key, value)))
        lead = (*batch, heads)
    return (*lead, *rows, value.shape[-1]), (*lead, *rows)


def _in_layout(
    letters: str, inputs: Sequence[torch.Tensor]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Shapes where the axes are named in their order, such as BSHD; the LSE stays by head."""
    query, key, value = (dict(zip(letters, x.shape, strict=True)) for x in inputs)
    sizes = {**query, "D": value["D"]}
    if "B" in letters:
        (sizes["B"],) = torch.broadcast_shapes(*((x["B"],) for x in (query, key, value)))
    by_head = [letter for letter in "BHS" if letter in letters]
    return tuple(sizes[x] for x in letters), tuple(sizes[x] for x in by_head)
