"""Attention on a cluster: arrays in chunks, a sequence over workers, and a worker that is killed.

Starts a cluster of worker processes on this machine, and closes it at the end. With the address of
a scheduler as --scheduler the same runs on other machines; no worker is killed there.

    pip install "regard[dask]"
    python examples/cluster.py
    python examples/cluster.py --tokens 200000 --workers 4
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import tempfile
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import regard
import regard.dask

HEADS, KV_HEADS, DIM = 8, 2, 64


def many_queries(client: Client, tokens: int) -> None:
    """Compute causal attention of a long text to itself, and its gradients, in chunks."""
    chunk = tokens // 4
    lazy = [
        da.random.default_rng(n).standard_normal((heads, tokens, DIM), chunks=(-1, chunk, -1))
        for n, heads in enumerate((HEADS, KV_HEADS, KV_HEADS))
    ]
    arrays = client.persist([x.astype(np.float32) for x in lazy])
    query, key, value = client.gather(client.compute(arrays))
    out, vjp = regard.dask.attention_vjp(*arrays, causal=True)
    attending = sum(str(name).startswith("('regard-attend") for name in out.__dask_graph__())
    print(f"{tokens} tokens in chunks of {chunk}: {attending} of 16 pairs of chunks are computed")
    found, *gradients = client.gather(client.compute([out, *vjp(out)]))
    expected, alone = regard.attention_vjp(query, key, value, causal=True)
    print(f"  output differs from one call by {abs(found - expected).max():.0e}")
    for name, one, other in zip(("query", "key", "value"), gradients, alone(expected), strict=True):
        print(f"  gradient of {name} by {abs(one - other).max() / abs(other).max():.0e} of itself")


def one_query(client: Client, tokens: int, directory: str | None, kill: bool) -> None:
    """Attend to a sequence on the workers, before and after one of them is killed."""
    rng = np.random.default_rng(1)
    chunks = (KV_HEADS, -(-tokens // 6), DIM)
    rows = [
        da.random.default_rng(n).random((KV_HEADS, tokens, DIM), np.float32, chunks=chunks)
        for n in range(2)
    ]
    query = rng.standard_normal((HEADS, 1, DIM), dtype=np.float32)
    with regard.dask.DistributedKVCache(client, 1, KV_HEADS, DIM, directory=directory) as cache:
        cache.append(*rows)
        before = cache.attend(query)
        workers = sorted({worker for _, _, worker in cache.shards})
        numbers = {address: n for n, address in enumerate(workers)}
        print(f"\n{tokens} tokens, {'in files' if directory else 'in memory'}")
        for start, stop, worker in cache.shards:
            print(f"  {start:7} .. {stop - 1:7}  worker {numbers[worker]}")
        if not kill:
            return
        lost = cache.shards[0][2]
        os.kill(client.run(os.getpid, workers=[lost])[lost], signal.SIGKILL)
        print(f"worker {numbers[lost]} is killed")
        try:
            same = bool((cache.attend(query) == before).all())
            print(f"  its files are opened by others; the output is bitwise the same: {same}")
        except regard.dask.LostTokens as error:
            print(
                f"  LostTokens: {error.start} .. {error.stop - 1} are gone: no output without them"
            )
            cache.truncate(error.start)
            cache.append(*(x[:, error.start :] for x in rows))
            close = bool(np.allclose(cache.attend(query), before, atol=1e-6))
            print(f"  appended again, the output is that of before: {close}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", type=int, default=8192, help="of the text, a multiple of 4")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--scheduler", help="address of a cluster that is there")
    given = parser.parse_args(argv)
    # What Dask writes about a worker that is killed is not news here.
    quiet: dict[str, Any] = {"silence_logs": logging.CRITICAL, "dashboard_address": ":0"}
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if given.scheduler:
        with Client(given.scheduler) as client:
            many_queries(client, given.tokens)
            one_query(client, 6 * given.tokens, None, kill=False)
        return 0
    # Files of a local cluster are where all workers can open them.
    with (
        LocalCluster(n_workers=given.workers, threads_per_worker=1, **quiet) as cluster,
        Client(cluster) as client,
        tempfile.TemporaryDirectory() as directory,
    ):
        many_queries(client, given.tokens)
        one_query(client, 6 * given.tokens, directory, kill=True)
        client.wait_for_workers(given.workers)
        one_query(client, 6 * given.tokens, None, kill=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
