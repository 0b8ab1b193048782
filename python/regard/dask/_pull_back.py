"""The graph of the backward pass: gradients of each part, and trees that sum them by input.

Each input is read in blocks, and a part's gradient by an input is one by the block that it read. So
the gradient of a block is a sum over the parts that read it, whichever input that is: over chunks
of keys for query, over chunks of queries for key, over nearly all parts for sinks.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from regard.dask._graph import Key, Tasks, add_tree, array
from regard.dask._grid import Block, Labels, Part, labels_of
from regard.dask._parts import Backward, Sum, Take, Zeros
from regard.dask._problem import Problem
from regard.dask._states import outputs


def pull_back(
    problem: Problem,
    states: da.Array,
    lse: da.Array,
    upstream: dict[str, da.Array],
    wrt: tuple[str, ...],
    split_every: int,
) -> dict[str, da.Array]:
    """Return the gradients, by head.

    Parameters
    ----------
    problem : Problem
    states, lse : dask.array.Array
        Of the forward pass.
    upstream : dict
        Derivatives by output and LSE, in their chunks.
    wrt : tuple of str
        Inputs that are wanted.
    split_every : int
        Gradients summed at a time.
    """
    out = outputs(problem, states, problem.computed)
    arrays = {**problem.arrays, **upstream, "out": out, "lse": lse}
    token = tokenize([x.name for x in arrays.values()], problem.options.given, wrt, split_every)
    pairs = _pairs(problem, arrays, wrt, f"regard-backward-{token}")
    found = {}
    for name in wrt:
        labels, shape, dtype = _described(problem, name)
        blocks: dict[Block, list[Key]] = {}
        tasks: Tasks = {}
        for number, (key, part, given) in enumerate(pairs.parts):
            if name in given:
                one: Key = (f"regard-{name}-{token}", number)
                tasks[one] = (Take(given.index(name)), key)
                blocks.setdefault(part.block(labels, shape), []).append(one)
        summed = f"regard-sum-{name}-{token}"
        chunks = problem.grid.of(labels, shape)
        for block in product(*(range(len(sizes)) for sizes in chunks)):
            if block in blocks:
                add_tree(tasks, summed, block, blocks[block], Sum(), Sum(dtype), split_every)
            else:
                sizes = tuple(sizes[n] for sizes, n in zip(chunks, block, strict=True))
                unread: Key = (summed, *block)
                tasks[unread] = (Zeros(sizes, dtype),)
        found[name] = array(tasks, summed, chunks, dtype, [pairs.graph])
    return found


class _Pairs:
    """Tasks that compute gradients, as a collection that others depend on."""

    def __init__(self, graph: da.Array, parts: list[tuple[Key, Part, tuple[str, ...]]]) -> None:
        self.graph, self.parts = graph, parts


def _pairs(
    problem: Problem, arrays: dict[str, da.Array], wrt: tuple[str, ...], name: str
) -> _Pairs:
    tasks: Tasks = {}
    parts: list[tuple[Key, Part, tuple[str, ...]]] = []
    for output in problem.grid.outputs():
        # Queries that see no key still move their LSE, the sink, if they have one.
        alone = [problem.grid.with_keys(output, 0, True)] if "sinks" in wrt else []
        for part in problem.parts(output) or alone:
            options, origin = problem.options.of(part)
            # A sink counts once; its options are those of the first part of a chunk of queries.
            given = tuple(n for n in wrt if n != "sinks" or part.first)
            key: Key = (name, len(parts))
            task = Backward(tuple(arrays), options, origin, given)
            tasks[key] = (task, *problem.keys_of(part, arrays))
            parts.append((key, part, given))
    graph = array(tasks, name, ((1,) * len(parts),), np.float64, list(arrays.values()))
    return _Pairs(graph, parts)


def _described(problem: Problem, name: str) -> tuple[Labels, tuple[int, ...], Any]:
    """Labels, shape and dtype of an input."""
    if name in problem.arrays:
        x = problem.arrays[name]
        return labels_of(name, x.ndim), x.shape, x.dtype
    labels, shape = problem.options.labels(name)
    if name == "position_bias":
        return labels, shape, problem.options.given[name].table.dtype
    return labels, shape, np.dtype(np.float64)
