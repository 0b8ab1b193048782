"""Writes the tables of docs/guide/cluster.md.

    python -m benchmarks.adapters.cluster_page benchmarks/results/cluster.json

What stands between ``<!-- cluster:begin -->`` and ``<!-- cluster:end -->`` is replaced by what was
measured, and between those of ``cluster-model`` by what `cluster_model` makes of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.adapters.cluster_model import Cluster, Graph
from benchmarks.adapters.tables import between_marks, milliseconds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "cluster.md"
LENGTH = 2**18
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# Bytes a second of 10 and of 1 gigabit Ethernet.
NETWORKS = {"10 Gbit/s": 1.25e9, "1 Gbit/s": 1.25e8}


def measured(result: dict[str, Any]) -> str:
    """Overhead, and the million keys."""
    machine, million, costs = result["machine"], result["million"], result["costs"]
    lines = [
        f"Measured on {machine['cpu']}, {machine['cores']} cores, {result['isa']}, Dask "
        f"{result['versions']['dask']}, a worker of one thread for each core. {costs['heads']} "
        f"query heads, {costs['kv_heads']} key heads of dimension {costs['head_dim']}, float32: 2 "
        "chunks of queries against 4 of keys.",
        "",
        "| chunks | one call | in chunks | |",
        "|--:|--:|--:|--:|",
    ]
    for row in result["overhead"]:
        one, cut = (row["seconds"][who] for who in ("one call", "cluster"))
        lines.append(
            f"| {row['chunk']:,} x {row['chunk']:,} | {milliseconds(one)} ms | "
            f"{milliseconds(cut)} ms | {cut / one:.2f}x |"
        )
    peaks = " and ".join(f"{peak / 2**20:,.0f} MiB" for peak in million["peak_rss"])
    lines += [
        "",
        f"A cache of {million['tokens']:,} tokens, bfloat16, in {million['shards']} files of "
        f"{million['file_bytes'] / 2**20:,.0f} MiB together, was filled by the workers in "
        f"{million['fill_seconds']:.1f} s. One query took "
        f"{milliseconds(million['first_seconds'])} ms the first time and "
        f"{milliseconds(million['seconds'])} ms after that. The workers' resident memory was "
        f"{peaks} at most, which includes the pages of the files that they had just written.",
    ]
    return "\n".join(lines)


def model(result: dict[str, Any]) -> str:
    """Workers against time, efficiency and bytes."""
    costs = result["costs"]
    graph = Graph(LENGTH, costs)
    tasks = sum(seconds > 0 for seconds in graph.seconds)
    names = list(NETWORKS)
    lines = [
        f"{LENGTH:,} tokens, causal, {costs['heads']} query and {costs['kv_heads']} key heads of "
        f"dimension {costs['head_dim']} in float32, chunks of {graph.chunk:,}: {tasks:,} tasks, "
        f"{graph.flops / 1e12:,.0f} TFLOP.",
        "",
        f"| workers | {' | '.join(f'seconds, {name} | busy' for name in names)} | GB moved | "
        "FLOP a byte |",
        f"|--:|{'--:|--:|' * len(names)}--:|--:|",
    ]
    for workers in WORKERS:
        cells = []
        for speed in NETWORKS.values():
            found = graph.run(Cluster(workers, speed, result["task_seconds"]))
            cells.append(f"{found.seconds:,.0f} | {found.efficiency(workers):.0%}")
            if speed == max(NETWORKS.values()):
                moved = found.moved
        intensity = f"{graph.flops / moved:,.0f}" if moved else "-"
        lines.append(f"| {workers:,} | {' | '.join(cells)} | {moved / 1e9:,.1f} | {intensity} |")
    return "\n".join(lines)


def rewrite(page: str, result: dict[str, Any]) -> str:
    """Put other tables into the page."""
    page = between_marks(page, "cluster", measured(result))
    return between_marks(page, "cluster-model", model(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="what benchmarks.adapters.cluster wrote")
    result = json.loads(parser.parse_args().json.read_text("utf-8"))
    PAGE.write_text(rewrite(PAGE.read_text("utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
