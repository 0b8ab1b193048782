"""The graph of the forward pass: a state for each part, and a tree that merges those of a chunk."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.core import flatten

from regard.dask._graph import Tasks, add_tree, array
from regard.dask._parts import Attend, Merge, Nothing, Take
from regard.dask._problem import Problem


def attend(problem: Problem, split_every: int) -> da.Array:
    """Return an array whose blocks are the states of the chunks of queries, over all keys."""
    arrays = problem.arrays
    token = tokenize([x.name for x in arrays.values()], problem.options.given, split_every)
    merged, attending = f"regard-merge-{token}", f"regard-attend-{token}"
    tasks: Tasks = {}
    labels = problem.out_labels
    last, inner = Merge(problem.computed), Merge()
    for output in problem.grid.outputs():
        block = tuple(output.index[label] for label in labels)
        keys = []
        for part in problem.parts(output):
            options, origin = problem.options.of(part)
            keys.append((attending, *block, part.index["keys"]))
            task = Attend(tuple(arrays), options, origin)
            tasks[keys[-1]] = (task, *problem.keys_of(part, arrays))
        if not keys:
            keys.append((attending, *block, 0))
            part = problem.grid.with_keys(output, 0, True)
            sizes = [output.ranges[label].stop - output.ranges[label].start for label in labels]
            shape = (*sizes, problem.inputs["value"].shape[-1])
            tasks[keys[-1]] = (Nothing(shape, problem.options.of(part)[0], problem.computed),)
        add_tree(tasks, merged, block, keys, inner, last, split_every)
    return array(tasks, merged, problem.lse_chunks, problem.computed, list(arrays.values()))


def outputs(problem: Problem, states: da.Array, dtype: np.dtype[Any]) -> da.Array:
    """Return the outputs of states, by head."""
    name = states.name.replace("merge", "out")
    tasks: Tasks = {(name, *key[1:], 0): (Take(0, dtype), key) for key in _keys(states)}
    return array(tasks, name, problem.out_chunks, dtype, [states])


def lses(problem: Problem, states: da.Array) -> da.Array:
    """Return the LSEs of states."""
    name = states.name.replace("merge", "lse")
    tasks: Tasks = {(name, *key[1:]): (Take(1), key) for key in _keys(states)}
    return array(tasks, name, problem.lse_chunks, problem.computed, [states])


def _keys(states: da.Array) -> list[tuple[object, ...]]:
    return list(flatten(states.__dask_keys__()))
