"""Packed queries, and keys in pages: `flash_attn_varlen_func` with a block_table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import regard
from regard.flash_attn._autograd import Pair, Tensors
from regard.flash_attn._pages import check_table
from regard.flash_attn._pieces import pieces
from regard.flash_attn._settings import Settings
from regard.flash_attn._shapes import check_pair, check_rank
from regard.flash_attn._tensors import check_floats, integers
from regard.torch._tensors import array_of, tensor_of


@dataclass(frozen=True)
class PagedCall:
    """What a call is given beside its tensors.

    Parameters
    ----------
    options : dict
        Of `regard.varlen_attention`, with block_table and key_lengths.
    starts : ndarray
        Where the queries of packed pieces begin.
    """

    options: dict[str, Any]
    starts: NDArray[Any]

    def forward(self, tensors: Tensors) -> Pair:
        """Output, as flash-attn lays it out, and LSE."""
        query, _, value = tensors
        out = torch.empty((*query.shape[:-1], value.shape[-1]), dtype=query.dtype)
        q, k, v, into = (array_of(x) for x in (*tensors, out))
        _, lse = regard.varlen_attention(
            q, k, v, self.starts, out=into, return_lse=True, **self.options
        )
        return out, tensor_of(lse)

    def gradients(
        self,
        tensors: Tensors,
        pair: Pair,
        dout: torch.Tensor,
        dlse: torch.Tensor | None,
        needed: Sequence[bool],
    ) -> list[torch.Tensor | None]:
        """Refuse: there is no kernel for it, nor has flash-attn one."""
        raise NotImplementedError(
            "flash_attn_varlen_func: there are no gradients with block_table.\n  Pages are for "
            "inference: pack the keys instead."
        )


def paged_call(
    function: str,
    inputs: dict[str, torch.Tensor],
    starts: dict[str, torch.Tensor],
    longest: dict[str, int],
    settings: Settings,
    block_table: torch.Tensor,
) -> PagedCall:
    """Check the arguments.

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
    if settings.dropout_p:
        raise ValueError(
            f"{function}: dropout_p is {settings.dropout_p} with block_table.\n  Pages are for "
            "inference: give 0."
        )
    options = settings.options(function, len(lengths), q.shape[1])
    return PagedCall({**options, "block_table": table, "key_lengths": lengths}, first)
