"""Measures what bounds on pages of keys allow to leave unread, and writes a page about it.

    python -m benchmarks.studies.page_bounds record --cache FOLDER
    python -m benchmarks.studies.page_bounds measure --cache FOLDER
    python -m benchmarks.studies.page_bounds page

``record`` lets SmolLM2 read three texts (a minute and 380 MB each). ``measure`` writes
benchmarks/results/page-bounds.json, and ``page`` the tables of docs/studies/page-bounds.md from it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.studies.page_bounds import made_up, model, page
from benchmarks.studies.page_bounds.measure import Distance, Head, Share, measure

RESULTS = Path(__file__).resolve().parents[2] / "results" / "page-bounds.json"
SCHEMA = 1
HALF = 0.5


def recorded_file(cache: Path, text: str) -> Path:
    return cache / f"{text.lower().replace(' ', '-')}.npz"


def record(cache: Path, text: str) -> None:
    for name in model.TEXTS:
        if text in name:
            model.record(name, recorded_file(cache, name))
            print(f"{name}: recorded", flush=True)


def summary(
    keys: str, context: int, heads: Iterable[tuple[int, Head]]
) -> tuple[list[Any], list[Any]]:
    """Reduce all heads of a model to shares and distances."""
    shares: dict[tuple[Any, ...], list[tuple[int, Share]]] = {}
    distances: dict[tuple[Any, ...], list[float]] = {}
    for layer, head in heads:
        for found in measure(head):
            if isinstance(found, Distance):
                distances.setdefault((found.rows, found.bound), []).append(found.nats)
            else:
                key = (found.rows, found.bound, found.eps)
                shares.setdefault(key, []).append((layer, found))
    about = {"keys": keys, "context": context}
    return (
        [
            {**about, "rows": rows, "bound": bound, "eps": eps, **reduced(found)}
            for (rows, bound, eps), found in shares.items()
        ],
        [
            {**about, "rows": rows, "bound": bound, "nats": digits(float(np.median(found)))}
            for (rows, bound), found in distances.items()
        ],
    )


def reduced(found: list[tuple[int, Share]]) -> dict[str, Any]:
    """Give the means over heads and queries, and how many KV heads reach the half."""
    by_head = np.array([share.kv_head.mean() for _, share in found])
    layers = np.array([layer for layer, _ in found])
    return {
        "query_head": digits(float(np.mean([share.query_head for _, share in found]))),
        "kv_head": digits(float(by_head.mean())),
        "half": int((by_head >= HALF).sum()),
        "heads": len(found),
        "layers": [digits(float(by_head[layers == n].mean())) for n in np.unique(layers)],
        "error": digits(max(share.error for _, share in found)),
    }


def digits(number: float) -> float:
    return float(f"{number:.4g}")


def measured(cache: Path, text: str, rows: dict[str, Any]) -> dict[str, Any]:
    """Measure all keys whose name contains a text, in place of what was found for them before."""
    found: dict[str, Any] = {"shares": [], "distances": []}

    def add(keys: str, context: int, heads: Iterable[tuple[int, Head]]) -> None:
        shares, distances = summary(keys, context, heads)
        found["shares"] += shares
        found["distances"] += distances
        print(f"{keys}, {context} keys: measured", flush=True)

    for number, (name, kind) in enumerate(made_up.KINDS.items()):
        if text in name:
            add(name, made_up.KEYS, [(0, kind(np.random.default_rng(number)))])
    for name in model.TEXTS:
        for context in model.CONTEXTS if text in name else ():
            add(name, context, model.heads(recorded_file(cache, name), context))
    for kept in found:
        found[kept] = [row for row in rows.get(kept, ()) if text not in row["keys"]] + found[kept]
    versions = {"numpy": np.__version__, "python": sys.version.split()[0]}
    return {"schema": SCHEMA, "versions": versions, **found}


def dumped(found: dict[str, Any]) -> str:
    """Write JSON with a row a line."""
    parts = []
    for name, part in found.items():
        body = json.dumps(part)
        if isinstance(part, list):
            body = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in part) + "\n ]"
        parts.append(f" {json.dumps(name)}: {body}")
    return "{\n" + ",\n".join(parts) + "\n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("record", "measure", "page"))
    parser.add_argument("--cache", type=Path, default=Path("page-bounds"), help="recorded keys")
    parser.add_argument("--text", default="", help="only keys whose name contains this")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the results")
    arguments = parser.parse_args()

    def result() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(arguments.json.read_text("utf-8"))
        return found

    if arguments.step == "record":
        record(arguments.cache, arguments.text)
    elif arguments.step == "measure":
        before = result() if arguments.json.exists() else {}
        found = measured(arguments.cache, arguments.text, before)
        arguments.json.write_text(dumped(found) + "\n", encoding="utf-8")
    else:
        rewritten = page.rewrite(page.PAGE.read_text("utf-8"), result())
        page.PAGE.write_text(rewritten, encoding="utf-8")


if __name__ == "__main__":
    main()
