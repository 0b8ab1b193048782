"""A cluster on paper: the real graph of a call, run by workers that are only counted.

Tasks take what they took on one core of the machine of the results; bytes take what a network of a
given bandwidth needs. A worker waits for what it does not have, and then computes: nothing
overlaps, which is the worst case. Networks are not shared, which is the best one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.core import get_dependencies

import regard.dask
from regard.dask._parts import Attend

#: Seconds from asking for bytes to the first of them, over TCP in one data centre.
LATENCY = 5e-4


@dataclass(frozen=True)
class Cluster:
    """Workers of a core each, a network, and what tasks take."""

    workers: int
    bytes_a_second: float
    task_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run took, what was moved, and what was computed in all."""

    seconds: float
    moved: int
    busy: float  # seconds of all workers together, without waiting

    def efficiency(self, workers: int) -> float:
        """Share of the time that workers compute."""
        return self.busy / (self.seconds * workers)


class Graph:
    """Tasks of a call: which wait for which, their seconds, and the bytes that they leave.

    Parameters
    ----------
    length : int
        Queries and keys, causal.
    costs : dict
        As `benchmarks.adapters.cluster.costs` found.
    chunk : int, optional
        Of queries and of keys; by default that of the costs, which are scaled.
    """

    def __init__(self, length: int, costs: dict[str, Any], chunk: int | None = None) -> None:
        self.chunk = costs["chunk"] if chunk is None else chunk
        heads, kv_heads, dim = (costs[name] for name in ("heads", "kv_heads", "head_dim"))
        self.scale = self.chunk / costs["chunk"]
        self._costs = costs["seconds"]
        arrays = [
            da.zeros((n, length, dim), np.float32, chunks=(n, self.chunk, dim), name=name)
            for name, n in (("query", heads), ("key", kv_heads), ("value", kv_heads))
        ]
        out = regard.dask.attention(*arrays, causal=True)
        graph = dict(out.__dask_graph__())
        numbers = {key: n for n, key in enumerate(graph)}
        self.inputs = [key[0] in ("query", "key", "value") for key in graph]
        self.needs = [[numbers[k] for k in get_dependencies(graph, key)] for key in graph]
        state = 4 * heads * self.chunk * (dim + 1)
        of = {"query": state, "key": 4 * kv_heads * self.chunk * dim}
        of["value"] = of["key"]
        self.sizes = [of.get(key[0], state) for key in graph]
        self.seconds = [self._seconds(key, task, len(self.needs[n])) for n, (key, task) in
                        enumerate(graph.items())]  # fmt: skip
        self.flops = self._flops(length, heads, dim)

    def _seconds(self, key: tuple[Any, ...], task: Any, parts: int) -> float:
        name = str(key[0])
        if name.startswith("regard-attend"):
            first = task[0] if isinstance(task, tuple) else task.func
            assert isinstance(first, Attend)
            kind = "attend_diagonal" if key[-1] == key[-2] else "attend"
            return float(self._costs[kind]) * self.scale**2
        if name.startswith("regard-merge"):
            return float(self._costs["merge_of_8"]) * self.scale * parts / 8
        return 0.0

    @staticmethod
    def _flops(length: int, heads: int, dim: int) -> float:
        return 4.0 * heads * dim * length * (length + 1) / 2

    def run(self, cluster: Cluster) -> Outcome:
        """Give each task, in the graph's order as it becomes ready, to the worker that can first.

        Inputs lie on the workers in turn. What a worker has once received it keeps.
        """
        count = len(self.needs)
        free = np.zeros(cluster.workers)
        there = np.zeros((count, cluster.workers), bool)
        done = np.zeros(count)
        followers: list[list[int]] = [[] for _ in range(count)]
        waits = [len(needs) for needs in self.needs]
        for task, needs in enumerate(self.needs):
            for other in needs:
                followers[other].append(task)
        ready = [(0.0, task) for task in range(count) if not waits[task]]
        heapq.heapify(ready)
        moved, busy, placed = 0, 0.0, 0
        while ready:
            at, task = heapq.heappop(ready)
            if self.inputs[task]:
                there[task, placed % cluster.workers] = True
                placed += 1
            else:
                needs = self.needs[task]
                missing = ~there[needs]
                sizes = np.array([self.sizes[n] for n in needs])
                fetched = (missing * sizes[:, np.newaxis]).sum(axis=0)
                wait = fetched / cluster.bytes_a_second + LATENCY * missing.any(axis=0)
                starts = np.maximum(free, at) + wait
                worker = int(starts.argmin())
                took = self.seconds[task] + cluster.task_seconds
                free[worker] = done[task] = starts[worker] + took
                there[needs, worker] = there[task, worker] = True
                moved += int(fetched[worker])
                busy += took
            for other in followers[task]:
                waits[other] -= 1
                if not waits[other]:
                    last = max(done[n] for n in self.needs[other])
                    heapq.heappush(ready, (last, other))
        return Outcome(float(done.max()), moved, busy)
