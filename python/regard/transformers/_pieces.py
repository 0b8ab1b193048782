"""A padded batch as one row of its tokens, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Pieces:
    """Where the tokens of a padded batch are.

    Attributes
    ----------
    batch, length : int
        The padded batch's shape.
    index : Tensor of int64, shape (total,)
        Tokens that are no padding, counted through the batch in C order.
    starts : Tensor of int32, shape (batch + 1,)
        Where each text begins in the row of all tokens, and the total.
    positions : Tensor of int64, shape (1, total)
        Counted from 0 in each text.
    longest : int
    """

    batch: int
    length: int
    index: torch.Tensor
    starts: torch.Tensor
    positions: torch.Tensor
    longest: int

    @classmethod
    def of(cls, mask: torch.Tensor) -> Pieces:
        """Find the tokens of a mask (batch, length), 1 or True for tokens."""
        real = mask.bool()
        lengths = real.sum(1)
        starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        index = real.flatten().nonzero().squeeze(1)
        first = torch.repeat_interleave(starts[:-1], lengths)
        positions = torch.arange(index.numel()) - first
        longest = int(lengths.max()) if lengths.numel() else 0
        batch, length = mask.shape
        return cls(batch, length, index, starts.int(), positions.unsqueeze(0), longest)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, ...) as (1, total, ...)."""
        return x.flatten(0, 1).index_select(0, self.index).unsqueeze(0)

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """(1, total, ...) as (batch, length, ...), 0 where there is no token."""
        rows = x.new_zeros((self.batch * self.length, *x.shape[2:]))
        return rows.index_copy(0, self.index, x[0]).unflatten(0, (self.batch, self.length))
