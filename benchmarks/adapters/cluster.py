"""Times of `regard.dask` on a cluster of this machine's cores, and the costs of its tasks.

    python -m benchmarks.adapters.cluster --json benchmarks/results/cluster.json
    python -m benchmarks.adapters.cluster --tokens 100000

The table of docs/guide/cluster.md is made from the file by ``benchmarks.adapters.cluster_page``,
which puts the costs into the graphs of larger clusters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
from distributed import Client, LocalCluster

import regard
import regard.dask
from regard.bench import machine
from regard.bench.timing import Effort, interleave
from regard.dask._parts import Attend, Merge

SCHEMA = 1
HEADS, KV_HEADS, DIM = 8, 2, 128


def overhead(client: Client, chunk: int) -> dict[str, Any]:
    """Time two chunks of queries over four of keys, against one call on as many threads."""
    state = da.random.default_rng(0)
    shapes = {"query": (HEADS, 2 * chunk), "key": (KV_HEADS, 4 * chunk)}
    made = [
        state.random((*shapes[of], DIM), np.float32, chunks=(-1, chunk, -1))
        for of in ("query", "key", "key")
    ]
    arrays = client.persist(made)
    distributed.wait(arrays)
    whole = client.gather(client.compute(arrays))
    threads = sum(client.nthreads().values())
    # Another scale each time: Dask computes nothing twice that has the same name.
    scales = itertools.count(1)

    def cut() -> None:
        scale = DIM**-0.5 + 1e-9 * next(scales)
        distributed.wait(client.persist(regard.dask.attention(*arrays, scale=scale)))

    def one() -> None:
        regard.attention(*whole, num_threads=threads)

    effort = Effort(seconds=0.1, rounds=3, minimum=3)
    timings = interleave({"one call": one, "cluster": cut}, effort)
    return {
        "chunk": chunk, "tasks": 8,
        "seconds": {who: timing.median for who, timing in timings.items()},
    }  # fmt: skip


def million(client: Client, tokens: int, directory: str) -> dict[str, Any]:
    """Fill a cache with keys on disk, and attend to all of them with a query."""
    state = da.random.default_rng(1)
    shape, chunks = (KV_HEADS, tokens, DIM), (KV_HEADS, 62_500, DIM)
    rows = [state.random(shape, np.float32, chunks=chunks) * 4 - 2 for _ in range(2)]
    query = np.random.default_rng(2).standard_normal((HEADS, 1, DIM), dtype=np.float32)
    with regard.dask.DistributedKVCache(client, 1, KV_HEADS, DIM, directory=directory) as cache:
        start = time.perf_counter()
        cache.append(*rows)
        filled = time.perf_counter() - start
        samples = []
        for _ in range(9):
            start = time.perf_counter()
            cache.attend(query)
            samples.append(time.perf_counter() - start)
        files = sum(path.stat().st_size for path in Path(directory).iterdir())
        return {
            "tokens": tokens, "shards": len(cache.shards), "file_bytes": files,
            "fill_seconds": filled, "first_seconds": samples[0],
            "seconds": median(samples[1:]), "peak_rss": peaks(client),
        }  # fmt: skip


def peaks(client: Client) -> list[int]:
    """Peak resident bytes of each worker: its own memory, and of mapped files what is in RAM."""
    found = client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return [kib * 1024 for kib in found.values()]


def costs(chunk: int) -> dict[str, Any]:
    """Seconds of one thread for each kind of task, with chunks of the simulation's heads."""
    rng = np.random.default_rng(3)
    query = rng.standard_normal((HEADS, chunk, DIM), dtype=np.float32)
    key, value = rng.standard_normal((2, KV_HEADS, chunk, DIM), dtype=np.float32)
    names = ("query", "key", "value")
    full = Attend(names, {"num_threads": 1})
    half = Attend(names, {"num_threads": 1, "causal": True})
    states = [full(query, key, value)] * 8
    calls: dict[str, Callable[[], Any]] = {
        "attend": partial(full, query, key, value),
        "attend_diagonal": partial(half, query, key, value),
        "merge_of_8": partial(Merge(), states),
    }
    seconds = {}
    for name, call in calls.items():
        call()
        samples = []
        for _ in range(3):
            start = time.perf_counter()
            call()
            samples.append(time.perf_counter() - start)
        seconds[name] = min(samples)
    return {
        "chunk": chunk, "heads": HEADS, "kv_heads": KV_HEADS, "head_dim": DIM, "seconds": seconds,
    }  # fmt: skip


def task_seconds(client: Client) -> float:
    """Time that Dask takes for a task that does nothing."""
    nothing = [dask.delayed(int)(n, pure=False) for n in range(500)]
    client.gather(client.compute(nothing[:50]))
    start = time.perf_counter()
    distributed.wait(client.compute(nothing))
    return (time.perf_counter() - start) / len(nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000, help="of the cache on disk")
    parser.add_argument("--chunk", type=int, default=4096)
    parser.add_argument("--json", type=Path, help="write the results")
    given = parser.parse_args()
    cluster = LocalCluster(
        n_workers=machine.usable_cores(), threads_per_worker=1, dashboard_address=":0"
    )
    with cluster, Client(cluster) as client, tempfile.TemporaryDirectory() as directory:
        found: dict[str, Any] = {
            "schema": SCHEMA,
            "machine": machine.describe(),
            "isa": regard.active_isa(),
            "versions": {"regard": regard.__version__, "dask": dask.__version__},
            "overhead": [overhead(client, given.chunk // n) for n in (1, 4)],
            "task_seconds": task_seconds(client),
            "costs": costs(given.chunk),
            "million": million(client, given.tokens, directory),
        }
    for row in found["overhead"]:
        one, cut = (row["seconds"][who] for who in ("one call", "cluster"))
        print(f"chunks of {row['chunk']}: {one:.3f} s, in chunks {cut:.3f} ({cut / one:.2f})")
    print(found["million"])
    print(found["costs"]["seconds"], found["task_seconds"])
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
