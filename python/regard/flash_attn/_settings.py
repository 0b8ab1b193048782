"""What all functions have in common: dropout_p, softmax_scale, causal, window_size, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import torch

from regard.flash_attn._tensors import check_tensor
from regard.torch._tensors import array_of


@dataclass(frozen=True)
class Settings:
    """Arguments by flash-attn's names, in its order, as the caller gave them."""

    dropout_p: float = 0.0
    softmax_scale: float | None = None
    causal: bool = False
    window_size: Sequence[int] = (-1, -1)
    softcap: float = 0.0
    alibi_slopes: torch.Tensor | None = None

    def options(self, function: str, batch: int, heads: int) -> dict[str, Any]:
        """Return the options of `regard.attention` that mean the same.

        Raises
        ------
        TypeError, ValueError
            An argument cannot be meant.
        """
        options: dict[str, Any] = {"causal": bool(self.causal)}
        if self.softmax_scale is not None:
            options["scale"] = float(self.softmax_scale)
        left, right = self._window(function)
        if left is not None or right is not None:
            options["window"] = (left, right)
        if self.softcap is not None and float(self.softcap) > 0:
            options["softcap"] = float(self.softcap)
        if self.alibi_slopes is not None:
            self._check_slopes(function, self.alibi_slopes, batch, heads)
            options["alibi_slopes"] = array_of(self.alibi_slopes).copy()  # for a backward pass
        share = float(self.dropout_p)
        if not 0 <= share < 1:
            raise ValueError(
                f"{function}: dropout_p is {share}.\n  Give the share of weights to leave out, "
                "at least 0 and less than 1."
            )
        if share > 0:
            # As on a GPU, what is dropped follows torch.manual_seed, and is drawn again under
            # torch.utils.checkpoint.
            seed = torch.randint(2**63 - 1, (), dtype=torch.int64)
            options.update(dropout=share, seed=int(seed))
        return options

    @property
    def is_local(self) -> bool:
        """Whether there is a limit on either side, causal calls aside."""
        return any(int(side) >= 0 for side in self.window_size)

    def _window(self, function: str) -> tuple[int | None, int | None]:
        try:
            left, right = (index(side) for side in self.window_size)
        except (TypeError, ValueError):
            raise TypeError(
                f"{function}: window_size is {self.window_size!r}.\n  Give (left, right), whole "
                "numbers; -1 is no limit."
            ) from None
        return None if left < 0 else left, None if right < 0 else right

    @staticmethod
    def _check_slopes(function: str, slopes: Any, batch: int, heads: int) -> None:
        check_tensor(function, "alibi_slopes", slopes)
        if slopes.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{function}: alibi_slopes has dtype {slopes.dtype}.\n  Convert it with "
                "alibi_slopes.float()."
            )
        if tuple(slopes.shape) not in ((heads,), (batch, heads)):
            raise ValueError(
                f"{function}: alibi_slopes has shape {tuple(slopes.shape)}.\n  Give a number for "
                f"each head, ({heads},), or for each batch element and head, ({batch}, {heads})."
            )
        if torch.is_grad_enabled() and slopes.requires_grad:
            raise ValueError(
                f"{function}: alibi_slopes requires a gradient, and flash-attn has none.\n  Give "
                "alibi_slopes.detach(), or use regard.torch.attention."
            )
