"""Who wants to see the attention of a running model."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Watcher(Protocol):
    """Is shown every call of attention."""

    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        options: dict[str, Any],
        row_sinks: torch.Tensor | None,
    ) -> None: ...


#: Those of now, in the order in which they came.
active: list[Watcher] = []


def look(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    options: dict[str, Any],
    row_sinks: torch.Tensor | None,
) -> None:
    """Show a call to all of them."""
    for watcher in active:
        watcher(module, query, key, options, row_sinks)
