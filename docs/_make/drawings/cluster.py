"""The gallery's picture of cluster.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

TITLE = "A cluster, and a worker that is killed"
ARGUMENTS: tuple[str, ...] = ()
WORDS = (
    "Attention and its gradients in chunks on worker processes by `regard.dask.attention_vjp`, "
    "and a sequence over the workers in a `regard.dask.DistributedKVCache`, before and after "
    "one of them is killed: with its keys in a file, and without."
)
CAPTION = "Which pairs of chunks are tasks of the graph: 16 chunks of queries against 16 of keys."


def draw(printed: str) -> Callable[[str], Any]:
    """Draw which pairs of chunks a causal call and one with a window are made of."""
    import dask.array as da

    import regard.dask

    x = da.zeros((1, 16 * 64, 8), chunks=(1, 64, 8))
    kinds = {
        "all keys": {},
        "causal": {"causal": True},
        "causal, a window of 3 chunks": {"causal": True, "window": 3 * 64},
    }
    grids = []
    for options in kinds.values():
        grid = np.zeros((16, 16))
        for key in regard.dask.attention(x, x, x, **options).__dask_graph__():
            if key[0].startswith("regard-attend"):
                grid[key[-2:]] = 1
        grids.append(grid)

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        for axes, grid, title in zip(figure.subplots(1, 3), grids, kinds, strict=True):
            axes.imshow(grid * 0.8, cmap="Blues", vmin=0, vmax=1)
            axes.set_title(f"{title}: {int(grid.sum())} tasks", fontsize=10)
            axes.set_xlabel("chunk of keys")
            axes.set_ylabel("chunk of queries")
            axes.set_xticks([])
            axes.set_yticks([])
        return figure

    return draw
