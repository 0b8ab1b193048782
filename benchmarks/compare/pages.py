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
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare.cpus import design
from benchmarks.compare.readme import headline_text, readme_text
from benchmarks.compare.report import Report, Row
from benchmarks.compare.results import Results, load
from benchmarks.compare.tables import (
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
    repeat_lines,
    side_by_side,
    unsupported_lines,
    won_text,
)
from regard.bench.text import threads_text

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADLINE_BEGIN, HEADLINE_END = "<!-- headline:begin -->", "<!-- headline:end -->"
OPTIONS_BEGIN, OPTIONS_END = "<!-- options:begin -->", "<!-- options:end -->"
TITLES = {
    "": "In float32 and float64:",
    "storage": "In 16 bits:",
    "decode": "One query for a cache:",
    "latent": "One query of many heads for a latent cache:",
    "call": "The smallest call:",
}


def performance_text(results: Results) -> str:
    """Say what docs/performance.md shows: every contender, without targets."""
    lines: list[str] = []
    if len(results.cpus) > 1:
        rows = {
            cpu: [row for _, found in results.compared(cpu) for row in found]
            for cpu in results.cpus
        }
        lines += ["### CPUs side by side", "", *side_by_side(rows), ""]
    for cpu in results.cpus:
        lines += [f"### {design(cpu)}", "", *_compared(results.of(cpu))]
        if cpu in results.packages:
            lines += [
                "#### Memory, threads, package",
                "",
                *package_lines(results.packages[cpu]),
                "",
            ]
        lines += [
            "#### The same again",
            "",
            "```sh",
            *repeat_lines(results.headline(cpu)),
            "```",
            "",
        ]
    return "\n".join(lines).rstrip()


def _compared(runs: dict[str, Report]) -> Iterator[str]:
    for name, run in runs.items():
        if run.rivals and (rows := plain_rows(run)):
            yield from (f"#### {run_title(run, name)}", "", *compared_lines(run, rows), "")
    for name, run in runs.items():
        if run.rivals and (rows := gradient_rows(run)):
            head = f"#### Gradients, {run_title(run, name)}"
            yield from (head, "", *compared_lines(run, rows), "")


def tuning_text(results: Results) -> str:
    """Say what docs/tuning.md shows: every run on every CPU, against ceilings and targets."""
    lines: list[str] = []
    for cpu in results.cpus:
        lines += [f"### {design(cpu)}", ""]
        for name, run in results.of(cpu).items():
            if rows := plain_rows(run):
                lines += [f"#### {run_title(run, name)}", "", *judged_lines(run, rows), ""]
        for name, run in results.of(cpu).items():
            if rows := gradient_rows(run):
                head = f"#### Gradients, {run_title(run, name)}"
                lines += [head, "", *judged_lines(run, rows), ""]
        if cpu in results.packages:
            lines += ["#### Memory, threads, package", ""]
            lines += [*package_lines(results.packages[cpu], judged=True), ""]
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
    for cpu in results.cpus:
        for name, run in results.of(cpu).items():
            rows = option_rows(run)
            if not rows:
                continue
            head = f"### Options, {design(cpu)}, {run_title(run, name)}"
            lines += [head, "", *machine_lines(run), "", *options_table(rows, run, judged), ""]
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
            save_plot(results.headline(results.cpus[0]), args.root / "docs" / name, theme)
            print(f"drawn: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
