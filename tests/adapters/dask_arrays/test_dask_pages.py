"""The tables of docs/guide/cluster.md are those of their file; the model's clusters make sense."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("distributed")

from benchmarks.adapters import cluster_page
from benchmarks.adapters.cluster_model import Cluster, Graph
from paths import ROOT

COSTS = {
    "chunk": 512, "heads": 2, "kv_heads": 1, "head_dim": 64,
    "seconds": {"attend": 1.0, "attend_diagonal": 0.5, "merge_of_8": 0.25},
}  # fmt: skip


def test_the_table_of_what_was_measured_is_that_of_the_file():
    text = (ROOT / "docs" / "guide" / "cluster.md").read_text("utf-8")
    result = json.loads((ROOT / "benchmarks" / "results" / "cluster.json").read_text("utf-8"))
    assert cluster_page.measured(result) in text


def test_one_worker_moves_nothing_and_never_waits():
    graph = Graph(4 * 512, COSTS)
    assert graph.chunk == 512
    found = graph.run(Cluster(1, 1e9, 0.0))
    merges = (1 + 2 + 3 + 4) * 0.25 / 8
    assert found.moved == 0
    assert found.seconds == pytest.approx(6 * 1.0 + 4 * 0.5 + merges)
    assert found.efficiency(1) == pytest.approx(1)


def test_more_workers_move_more_and_a_slow_network_is_waited_for():
    graph = Graph(8 * 512, COSTS)
    runs = {
        (workers, speed): graph.run(Cluster(workers, speed, 0.001))
        for workers in (1, 2, 8)
        for speed in (1e9, 1e6)
    }
    assert runs[1, 1e9].moved < runs[2, 1e9].moved < runs[8, 1e9].moved
    assert runs[8, 1e9].seconds < runs[2, 1e9].seconds < runs[1, 1e9].seconds
    assert runs[8, 1e6].seconds > runs[8, 1e9].seconds
    assert runs[8, 1e9].seconds * 8 >= runs[8, 1e9].busy
