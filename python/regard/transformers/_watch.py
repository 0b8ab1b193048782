"""``watch``: summaries of the attention of every layer while a model runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import regard
from regard.torch._tensors import array_of
from regard.transformers import _watchers
from regard.transformers._arguments import check_model
from regard.transformers._tensors import arrays_of

Summaries = dict[str, list[regard.AttentionSummary]]


@contextmanager
def watch(
    model: torch.nn.Module,
    *,
    layers: Collection[int | str] | None = None,
    pooled: tuple[int, int] = (64, 64),
    top_k: int = 8,
) -> Iterator[Summaries]:
    """Collect what can be said of all attention weights while a model runs.

    Nothing of size (queries, keys) is made: a map of 8,192 tokens takes as much memory as one of
    64, and what is kept of each row is a few numbers.

    Parameters
    ----------
    model : Module
        Loaded with ``attn_implementation="regard"``.
    layers : collection of int or str, optional
        Which attention modules: their names in the model (``"layers.0.self_attn"``, or its end),
        or their ``layer_idx``. All of them by default.
    pooled : (int, int), default (64, 64)
        Rows and columns of the maps.
    top_k : int, default 8
        How many of the largest weights of each row to keep.

    Yields
    ------
    dict of str to list of AttentionSummary
        By the name of the module in the model, in the order in which they run; an entry for each
        call, with arrays (batch, Hq, ...) as of `regard.attention_summary`. Packed pieces are one
        row.

    Raises
    ------
    ValueError
        No module is meant by one of `layers`.
    NotImplementedError
        The model has a sink for each query.

    See Also
    --------
    regard.plot.heatmap : Draws a map: ``seen[name][0].pooled[0, head]``.

    Examples
    --------
    >>> import torch, transformers
    >>> import regard.transformers
    >>> config = transformers.BertConfig(
    ...     vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
    ...     intermediate_size=37, attn_implementation="regard")
    >>> model = transformers.BertModel(config).eval()
    >>> with regard.transformers.watch(model, pooled=(4, 4)) as seen:
    ...     _ = model(torch.arange(2, 50)[None])
    >>> list(seen)
    ['encoder.layer.0.attention.self', 'encoder.layer.1.attention.self']
    >>> seen["encoder.layer.0.attention.self"][0].pooled.shape
    (1, 4, 4, 4)
    """
    check_model(model, "watch")
    names = {module: name for name, module in model.named_modules()}
    wanted = None if layers is None else _wanted(names, layers)
    seen: Summaries = {}

    def look(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        options: dict[str, Any],
        row_sinks: torch.Tensor | None,
    ) -> None:
        if module not in names or (wanted is not None and module not in wanted):
            return
        if row_sinks is not None:
            raise NotImplementedError(
                f"watch: {names[module]} has a sink for each query.\n  Leave it out by layers=."
            )
        summary = regard.attention_summary(
            array_of(query), array_of(key), top_k=top_k, pooled=pooled, **arrays_of(options)
        )
        seen.setdefault(names[module], []).append(summary)

    _watchers.active.append(look)
    try:
        yield seen
    finally:
        _watchers.active.remove(look)


def _wanted(
    names: dict[torch.nn.Module, str], layers: Collection[int | str]
) -> set[torch.nn.Module]:
    """Modules that `layers` mean."""
    wanted: set[torch.nn.Module] = set()
    for layer in layers:
        if isinstance(layer, str):
            found = {m for m, name in names.items() if f".{name}".endswith(f".{layer}")}
        else:
            found = {m for m in names if getattr(m, "layer_idx", None) == layer}
        if not found:
            raise ValueError(
                f"watch: layers has {layer!r}, and no module of the model is called so.\n  Give "
                "names of attention modules, or their layer_idx."
            )
        wanted |= found
    return wanted
