"""Makes the tables and the plot of the documentation from the committed results.

    python -m benchmarks.compare.pages            # rewrites the pages below, and docs/speed*.svg
    python -m benchmarks.compare.pages --check    # exits with 1 when the text is out of date

README.md has a few rows, docs/performance.md every contender, for readers, and docs/tuning.md
every run against ceilings and targets, for people who tune. The text between
``<!-- results:begin -->`` and ``<!-- results:end -->`` is replaced; so is that of ``headline`` in
README.md, and that of ``options`` in docs/, where the rows of options have a table of their own.
So have those of gradients.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.report import Report, Row
from benchmarks.compare.rivals import RIVALS
from benchmarks.compare.tables import (
    best_rivals,
    compared_table,
    gradient_rows,
    judged_table,
    machine_lines,
    met_text,
    note_lines,
    option_rows,
    options_table,
    package_lines,
    plain_rows,
    readme_table,
    repeat_lines,
    row_lost,
    row_missed,
    title,
    unique,
    unsupported_lines,
    won_text,
)
from regard.bench.text import threads_text

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADLINE_BEGIN, HEADLINE_END = "<!-- headline:begin -->", "<!-- headline:end -->"
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
TITLES = {
    "": "In float32 and float64:",
    "storage": "In 16 bits:",
    "decode": "One query for a cache:",
    "call": "The smallest call:",
}
OPTIONS_BEGIN, OPTIONS_END = "<!-- options:begin -->", "<!-- options:end -->"


@dataclass(frozen=True)
class Results:
    """Everything that was committed: runs of the benchmark, and findings about the package."""

    runs: dict[str, Report]
    package: dict[str, Any] | None

    @property
    def headline(self) -> Report:
        """The run that the large table is about."""
        return best_of([run for run in self.runs.values() if plain_rows(run)] or self.all)

    @property
    def compared(self) -> list[tuple[Report, list[Row]]]:
        """The headline run and that of gradients, with the rows that each is read for."""
        found = [(self.headline, plain_rows(self.headline))]
        if runs := [run for run in self.all if gradient_rows(run)]:
            found.append((best_of(runs), gradient_rows(best_of(runs))))
        return found

    @property
    def all(self) -> list[Report]:
        """Every run."""
        return list(self.runs.values())


def best_of(runs: list[Report]) -> Report:
    """Choose the run with the most rivals, and among those the most threads."""
    return max(runs, key=lambda run: (len(run.rivals), run.threads, run.date))


def load(folder: Path) -> Results:
    """Read all results in a folder."""
    runs: dict[str, Report] = {}
    package = None
    for path in sorted(folder.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if data.get("kind") == "package":
            package = data
        elif data.get("kind") == "bench":
            runs[path.stem] = Report.from_json(text)
    if not runs:
        raise SystemExit(f"report: no results in {folder}")
    return Results(runs, package)


def headline_text(results: Results) -> str:
    """Say what the README begins with: how many rows are won, and by how much."""
    best = [pair for _, rows in results.compared for pair in best_rivals(rows)]
    if not best:
        return "Exact attention for NumPy arrays on the CPU."
    ratios = [row.ratio(name) for row, name in best]
    titles = [title(name) for name in RIVALS if name in {n for r, _ in best for n in r.results}]
    names = " and ".join(filter(None, [", ".join(titles[:-1]), titles[-1]]))
    return textwrap.fill(
        f"Exact attention for NumPy arrays on the CPU: faster than {names} in "
        f"**{sum(ratio >= 1 for ratio in ratios)} of {len(ratios)}** measured cases, by up to "
        f"**{max(ratios):.1f}x** against the best of them, on the same "
        f"{threads_text(results.headline.threads).replace('thread', 'core')}.",
        width=100,
    )


def readme_text(results: Results) -> str:
    """Say what the README shows: a few rows, and how many of all are won."""
    rows = readme_rows(results)
    lines: list[str] = []
    for run in unique(run for run, _ in rows):
        what = "Measured" if run is results.headline else "Gradients measured"
        lines += [*machine_lines(run, what), ""]
    lines += [*readme_table(rows), ""]
    everything = [(run, row) for run, rows in results.compared for row in rows]
    outcome = " ".join(filter(None, [won_text(everything), met_text(everything)]))
    lines.append(f"All measured rows: {outcome[:1].lower()}{outcome[1:]}")
    lines += note_lines([row for _, row in rows], results.headline)
    return "\n".join(lines)


def readme_rows(results: Results) -> list[tuple[Report, Row]]:
    """Find the README's rows; an error where one is missing, or all of them are good news."""
    known = {row.case.name: (run, row) for run, rows in results.compared for row in rows}
    if missing := [name for name in README_CASES if name not in known]:
        raise SystemExit(f"report: no results for README_CASES {', '.join(missing)}")
    rows = [known[name] for name in README_CASES]
    if not any(row_lost(row) or row_missed(row, run) for run, row in rows):
        raise SystemExit("report: README_CASES must have a row that is lost or misses its target")
    return rows


def performance_text(results: Results) -> str:
    """Say what docs/performance.md shows: every contender, without targets."""
    lines: list[str] = []
    for name, run in results.runs.items():
        if run.rivals and (rows := plain_rows(run)):
            lines += [f"### {run_title(run, name)}", "", *compared_lines(run, rows), ""]
    for name, run in results.runs.items():
        if run.rivals and (rows := gradient_rows(run)):
            lines += [f"### Gradients, {run_title(run, name)}", "", *compared_lines(run, rows), ""]
    if results.package:
        lines += ["### Memory, threads, package", "", *package_lines(results.package), ""]
    lines += ["### The same again", "", "```sh", *repeat_lines(results.headline), "```"]
    return "\n".join(lines)


def tuning_text(results: Results) -> str:
    """Say what docs/tuning.md shows: every run on every CPU, against ceilings and targets."""
    lines: list[str] = []
    for cpu in unique(run.machine["cpu"] for run in results.all):
        lines += [f"### {cpu}", ""]
        runs = {name: run for name, run in results.runs.items() if run.machine["cpu"] == cpu}
        for name, run in runs.items():
            if rows := plain_rows(run):
                lines += [f"#### {run_title(run, name)}", "", *judged_lines(run, rows), ""]
        for name, run in runs.items():
            if rows := gradient_rows(run):
                head = f"#### Gradients, {run_title(run, name)}"
                lines += [head, "", *judged_lines(run, rows), ""]
    if results.package:
        lines += ["### Memory, threads, package", ""]
        lines += package_lines(results.package, judged=True)
    return "\n".join(lines).rstrip()


def run_title(run: Report, name: str) -> str:
    """Name a run: what it ran with, and its file."""
    return f"{run.isa}, {threads_text(run.threads)} (`{name}.json`)"


def compared_lines(run: Report, rows: list[Row]) -> Iterator[str]:
    """Compare everybody in some rows of a run: a table for each group with a title."""
    yield from (*machine_lines(run), "")
    by_title: dict[str, list[Row]] = {}
    for row in rows:
        by_title.setdefault(TITLES.get(row.case.group, TITLES[""]), []).append(row)
    for text, part in by_title.items():
        yield from ([text, ""] if len(by_title) > 1 else [])
        yield from (*compared_table(run, part), "")
    won = won_text([(run, row) for row in rows])
    yield from ([won] if won else [])
    yield from (*note_lines(rows, run), *unsupported_lines(rows))


def judged_lines(run: Report, rows: list[Row]) -> Iterator[str]:
    """Hold some rows of a run against the ceiling and their targets."""
    yield from (*machine_lines(run), "", *judged_table(run, rows), "")
    yield met_text([(run, row) for row in rows]) or "No targets for this run."
    yield from note_lines(rows, run)


def options_text(results: Results, judged: bool = False) -> str:
    """Say what options cost: their table in docs/."""
    lines: list[str] = []
    for name, run in results.runs.items():
        rows = option_rows(run)
        if not rows:
            continue
        lines += [f"### Options, {run_title(run, name)}", "", *machine_lines(run), ""]
        lines += [*options_table(rows, run, judged), ""]
        if judged:
            lines += [met_text([(run, row) for row in rows]) or "No targets for this run.", ""]
    return "\n".join(lines).rstrip() or "No committed result has these rows yet."


def replaced(path: Path, blocks: dict[tuple[str, str], str]) -> str:
    """Return a page's text with the parts between the markers replaced."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for (begin, end), block in blocks.items():
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"report: {path.name} needs one {begin} and one {end}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the pages, or check that they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if stale")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and docs/ are")
    parser.add_argument("--no-plot", action="store_true", help="text only")
    args = parser.parse_args(arguments)

    results = load(args.results)
    pages = {
        args.root / "README.md": {
            (HEADLINE_BEGIN, HEADLINE_END): headline_text(results),
            (BEGIN, END): readme_text(results),
        },
        args.root / "docs" / "performance.md": {
            (BEGIN, END): performance_text(results),
            (OPTIONS_BEGIN, OPTIONS_END): options_text(results),
        },
        args.root / "docs" / "tuning.md": {
            (BEGIN, END): tuning_text(results),
            (OPTIONS_BEGIN, OPTIONS_END): options_text(results, judged=True),
        },
    }
    stale = []
    for path, blocks in pages.items():
        text = replaced(path, blocks)
        if text != path.read_text(encoding="utf-8"):
            stale.append(path)
            if not args.check:
                path.write_text(text, encoding="utf-8")
    names = ", ".join(path.name for path in stale)
    if args.check:
        print(f"out of date: {names}; run benchmarks.compare.pages" if stale else "up to date")
        return 1 if stale else 0
    print(f"rewritten: {names}" if stale else "nothing to rewrite")
    if not args.no_plot:
        from benchmarks.compare.plot import save_plot

        for theme, name in (("light", "speed.svg"), ("dark", "speed-dark.svg")):
            save_plot(results.headline, args.root / "docs" / name, theme)
            print(f"drawn: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
