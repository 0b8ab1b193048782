"""Graphs of tasks: names that a dashboard shows, trees, and the arrays of what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import DTypeLike

from regard.dask._grid import Block

Key: TypeAlias = tuple[Any, ...]
Tasks: TypeAlias = dict[Key, tuple[Any, ...]]


def add_tree(
    tasks: Tasks,
    name: str,
    block: Block,
    parts: Sequence[Key],
    inner: Callable[[Sequence[Any]], Any],
    last: Callable[[Sequence[Any]], Any],
    split_every: int,
) -> None:
    """Put parts together, so many at a time; the result is ``(name, *block)``.

    The tree depends on the number of parts alone: what is computed is the same for any number of
    workers and any order in which they finish.
    """
    level, keys = 0, list(parts)
    while len(keys) > split_every:
        level += 1
        joined = []
        for start in range(0, len(keys), split_every):
            key = (name, *block, level, start // split_every)
            tasks[key] = (inner, keys[start : start + split_every])
            joined.append(key)
        keys = joined
    result = (name, *block)
    tasks[result] = (last, keys)


def array(
    tasks: Tasks,
    name: str,
    chunks: tuple[tuple[int, ...], ...],
    dtype: DTypeLike,
    dependencies: Sequence[da.Array],
) -> da.Array:
    """Make an array whose blocks are ``(name, *block)``."""
    unique = {x.name: x for x in dependencies}
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=list(unique.values()))
    meta = np.empty((0,) * len(chunks), dtype)
    return da.Array(graph, name, chunks, meta=meta)
