"""What the README says of speed and error: a few rows, every CPU beside the others."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from benchmarks.compare.cpus import design
from benchmarks.compare.report import Report, Row
from benchmarks.compare.results import Results, rivals_of
from benchmarks.compare.rivals import RIVALS
from benchmarks.compare.tables import (
    best_rivals,
    machine_lines,
    met_text,
    note_lines,
    row_lost,
    row_missed,
    side_by_side,
    title,
    unique,
    won_text,
)
from regard.bench.text import threads_text

# The README's rows, by the names of their cases: each kind of work, and where regard does worst.
README_CASES = (
    "full-1k-d64",
    "full-1k-d64-bnhd",
    "causal-2k-d128-gqa4",
    "bert-8x12x128",
    "bias-1k-d64",
    "window-512-of-4k",
    "decode-8x-4k-d128-gqa4-bf16",
    "backward-4k-d64-causal",
)


def headline_text(results: Results) -> str:
    """Say what the README begins with: how many rows are won on each CPU, and by how much."""
    won, factors = [], []
    for cpu in results.cpus:
        ratios = [
            row.ratio(name) for _, rows in results.compared(cpu) for row, name in best_rivals(rows)
        ]
        if ratios:
            count = sum(ratio >= 1 for ratio in ratios)
            won.append((count, len(ratios), design(cpu)))
            factors.append(max(ratios))
    if not won:
        return "Exact attention for NumPy arrays on the CPU."
    names = [title(name) for name in RIVALS if name in rivals_of(results)]
    rivals = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    count, rows, cpu = won[0]
    counts = f"**{count} of {rows}** measured cases on {cpu}"
    counts += "".join(f" and **{count} of {rows}** on {cpu}" for count, rows, cpu in won[1:])
    cores = threads_text(results.headline(results.cpus[0]).threads).replace("thread", "core")
    return textwrap.fill(
        f"Exact attention for NumPy arrays on the CPU: faster than {rivals} in {counts}, by up to "
        f"**{max(factors):.1f}x** against the best of them, on the same {cores}.",
        width=100,
    )


def readme_text(results: Results) -> str:
    """Say what the README shows: a few rows, and how many of all are won."""
    rows = readme_rows(results)
    lines: list[str] = []
    for cpu in results.cpus:
        runs = unique(run for run, _ in rows[cpu])
        for run in runs:
            what = "Measured" if run is results.headline(cpu) else "Gradients measured"
            lines += [*machine_lines(run, what), ""]
    lines += [*side_by_side({cpu: [row for _, row in rows[cpu]] for cpu in rows}), ""]
    for cpu in results.cpus:
        everything = [(run, row) for run, found in results.compared(cpu) for row in found]
        outcome = " ".join(filter(None, [won_text(everything), met_text(everything)]))
        lines += [f"All measured rows, {design(cpu)}: {outcome[:1].lower()}{outcome[1:]}", ""]
    shown = [row for cpu in rows for _, row in rows[cpu]]
    lines += note_lines(shown, results.headline(results.cpus[0]))
    return "\n".join(lines)


def readme_rows(results: Results) -> dict[str, list[tuple[Report, Row]]]:
    """Find the README's rows by CPU; an error where one is missing, or all are good news."""
    found = {cpu: list(_rows_of(results, cpu)) for cpu in results.cpus}
    if not any(
        row_lost(row) or row_missed(row, run) for rows in found.values() for run, row in rows
    ):
        raise SystemExit("report: README_CASES must have a row that is lost or misses its target")
    return found


def _rows_of(results: Results, cpu: str) -> Iterator[tuple[Report, Row]]:
    known = {row.case.name: (run, row) for run, rows in results.compared(cpu) for row in rows}
    if missing := [name for name in README_CASES if name not in known]:
        raise SystemExit(f"report: no results for README_CASES {', '.join(missing)} on {cpu}")
    for name in README_CASES:
        yield known[name]
