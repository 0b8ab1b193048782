"""The committed results: runs of the benchmark and findings about the package, of several CPUs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.report import Report, Row
from benchmarks.compare.tables import gradient_rows, plain_rows, unique


@dataclass(frozen=True)
class Results:
    """Everything that was committed, by the names of the files and by CPU."""

    runs: dict[str, Report]
    packages: dict[str, dict[str, Any]]

    @property
    def cpus(self) -> list[str]:
        """CPUs that were measured, the one that was measured last before the others."""
        latest: dict[str, str] = {}
        for run in self.runs.values():
            cpu = run.machine["cpu"]
            latest[cpu] = max(latest.get(cpu, ""), run.date)
        return sorted(latest, key=lambda cpu: latest[cpu], reverse=True)

    def of(self, cpu: str) -> dict[str, Report]:
        """Choose the runs on a CPU, by their names."""
        return {name: run for name, run in self.runs.items() if run.machine["cpu"] == cpu}

    def headline(self, cpu: str) -> Report:
        """Find the run that a CPU's large table is about."""
        runs = list(self.of(cpu).values())
        return best_of([run for run in runs if plain_rows(run)] or runs)

    def compared(self, cpu: str) -> list[tuple[Report, list[Row]]]:
        """Find the headline run and that of gradients, with the rows that each is read for."""
        found = [(self.headline(cpu), plain_rows(self.headline(cpu)))]
        if runs := [run for run in self.of(cpu).values() if gradient_rows(run)]:
            found.append((best_of(runs), gradient_rows(best_of(runs))))
        return found


def best_of(runs: list[Report]) -> Report:
    """Choose the run with the most rivals, and among those the most threads."""
    return max(runs, key=lambda run: (len(run.rivals), run.threads, run.date))


def load(folder: Path) -> Results:
    """Read all results in a folder and in those of CPUs."""
    runs: dict[str, Report] = {}
    packages: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*.json")):
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if data.get("kind") == "package":
            packages[data["machine"]["cpu"]] = data
        elif data.get("kind") == "bench":
            runs[path.relative_to(folder).with_suffix("").as_posix()] = Report.from_json(text)
    if not runs:
        raise SystemExit(f"report: no results in {folder}")
    return Results(runs, packages)


def rivals_of(results: Results) -> list[str]:
    """Name every rival that a headline has a result of."""
    runs = [results.headline(cpu) for cpu in results.cpus]
    return unique(name for run in runs for row in run.rows for name in row.results)
