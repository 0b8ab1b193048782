"""Makes the tables and the plot of the documentation from the committed results.

    python -m benchmarks.compare.pages            # README.md, docs/performance.md, docs/speed.svg
    python -m benchmarks.compare.pages --check    # exits with 1 when the text is out of date

The text between ``<!-- results:begin -->`` and ``<!-- results:end -->`` is replaced; so is that of
``options`` in docs/performance.md, where the rows of options have a table of their own. So have
those of gradients, in both pages.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.report import OWN, Report, Row
from benchmarks.compare.rivals import RIVALS
from regard.bench.text import threads_text, time_text

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TITLES = {
    "storage": "In 16 bits:",
    "decode": "One query for a cache, held to the speed of memory:",
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


def readme_text(results: Results) -> str:
    """Say what the README shows: the headline run, each case against its best rival."""
    run = results.headline
    return "\n".join(
        [
            *machine_lines(run),
            "",
            *sections(run),
            *summary_lines(run, plain_rows(run)),
            *gradients_lines(results),
            *options_line(results),
            *(["", *package_lines(results.package)] if results.package else []),
            "",
            "Repeat it:",
            "",
            "```sh",
            *repeat_lines(run),
            "```",
        ]
    )


def performance_text(results: Results) -> str:
    """Say what docs/performance.md shows: every run, every contender."""
    lines: list[str] = []
    for name, run in results.runs.items():
        if not plain_rows(run):
            continue
        lines += [f"### {run.isa}, {threads_text(run.threads)} (`{name}.json`)", ""]
        lines += all_lines(run, plain_rows(run))
    for name, run in results.runs.items():
        if rows := gradient_rows(run):
            lines += [f"### Gradients, {run.isa}, {threads_text(run.threads)} (`{name}.json`)", ""]
            lines += all_lines(run, rows)
    if results.package:
        lines += ["### Memory, threads, package", "", *package_lines(results.package), ""]
    return "\n".join(lines).rstrip()


def all_lines(run: Report, rows: list[Row]) -> list[str]:
    """Say everything about some rows of a run."""
    table = [*machine_lines(run), "", *full_table(run, rows), ""]
    return [*table, *summary_lines(run, rows), *unsupported_lines(rows), ""]


def sections(run: Report) -> Iterator[str]:
    """Make the README's tables: the large one, and one for each group with a title."""
    by_title: dict[str, list[Row]] = {}
    for row in plain_rows(run):
        by_title.setdefault(TITLES.get(row.case.group, ""), []).append(row)
    for text, rows in by_title.items():
        yield from ([text, ""] if text else [])
        yield from (*headline_table(run, rows), "")


def gradients_lines(results: Results) -> Iterator[str]:
    """Say what the README shows of gradients: one run, each case against its best rival."""
    runs = [run for run in results.all if gradient_rows(run)]
    if not runs:
        return
    run = best_of(runs)
    yield from ("", "Forward and backward pass together, 3.5 times the arithmetic:", "")
    if run is not results.headline:
        yield from (*machine_lines(run), "")
    yield from (*headline_table(run, gradient_rows(run)), "")
    yield from summary_lines(run, gradient_rows(run))


def options_text(results: Results) -> str:
    """Say what options cost: their table in docs/performance.md."""
    lines: list[str] = []
    for name, run in results.runs.items():
        rows = option_rows(run)
        if not rows:
            continue
        lines += [f"### Options, {run.isa}, {threads_text(run.threads)} (`{name}.json`)", ""]
        lines += [*machine_lines(run), "", *options_table(rows, run), ""]
    return "\n".join(lines).rstrip() or "No committed result has these rows yet."


def options_table(rows: list[Row], run: Report) -> Iterator[str]:
    """Give the time of each option beside that of the same call without it."""
    names = [name for name in run.rivals if any(name in row.results for row in rows)]
    head = ["batch x heads x length x head_dim", "regard", "plain", "x plain", "error"]
    yield cells_line([*head, *(title(name) for name in names), "target"])
    yield cells_line(["---", "--:", "--:", "--:", "--:", *("--:" for _ in names), "---"])
    for row in rows:
        times = [row.own.seconds] + ([row.baseline.seconds] if row.baseline else [])
        cells = [row.case.title, *map(time_text, times), f"{row.times_plain():.2f}"]
        cells += [row.error_text(), *(rival_cell(row, name) for name in names)]
        yield cells_line([*cells, verdict_text(row, run.isa)])


def options_line(results: Results) -> Iterator[str]:
    """Say in one line of the README how many options cost what they may."""
    rows = [(row, run) for run in results.runs.values() for row in option_rows(run)]
    verdicts = [verdict for row, run in rows if (verdict := row.verdict(run.isa))]
    if verdicts:
        met = sum(verdict.met for verdict in verdicts)
        yield f"What options cost: {met} of {len(verdicts)} targets met, see docs/performance.md."


def plain_rows(run: Report) -> list[Row]:
    """Rows of the large table."""
    return [row for row in run.rows if row.case.group != "options" and not row.case.backward]


def gradient_rows(run: Report) -> list[Row]:
    """Rows of forward and backward pass together."""
    return [row for row in run.rows if row.case.group == "backward"]


def option_rows(run: Report) -> list[Row]:
    """Rows that say what an option costs."""
    return [row for row in run.rows if row.times_plain() is not None]


def machine_lines(run: Report) -> Iterator[str]:
    """Where, when, with what."""
    machine = run.machine
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    ceilings = ", ".join(f"{gf:.0f} GFLOP/s in {dtype}" for dtype, gf in run.ceilings().items())
    yield (
        f"Measured {run.date} on {machine['cpu']}, {machine['cores']} cores ({caches}), "
        f"{machine['system']}, with {run.isa} and {threads_text(run.threads)}. "
        f"Ceiling (FMA in registers, measured in the same run): {ceilings}"
        + (f"; of decode, {run.bandwidth():.1f} GB/s from memory." if run.bandwidth() else ".")
    )
    versions = [f"{title(name)} {run.contenders[name]}" for name in run.rivals]
    yield f"regard {run.contenders[OWN]}" + (f"; {', '.join(versions)}." if versions else ".")


def headline_table(run: Report, rows: list[Row]) -> Iterator[str]:
    """Speed and error of each case beside those of its best rival."""
    yield (
        "| batch x heads x length x head_dim | regard | of the ceiling | error "
        "| best rival | its error | rival's time / regard's | target |"
    )
    yield "|---|--:|--:|--:|---|--:|--:|---|"
    for row in rows:
        best = row.best_rival()
        cells = [row.case.title, *own_cells(row)]
        if best is None:
            cells += ["none", "", ""]
        else:
            result = row.results[best]
            rival = " ".join(filter(None, [title(best), result.way, time_text(result.seconds)]))
            cells += [rival, row.error_text(best), ratio_text(row, best)]
        yield cells_line([*cells, verdict_text(row, run.isa)])


def full_table(run: Report, rows: list[Row]) -> Iterator[str]:
    """Speed and error of every contender."""
    names = [name for name in run.rivals if any(name in row.results for row in rows)]
    head = ["batch x heads x length x head_dim", "regard", "of the ceiling", "error"]
    yield cells_line([*head, *(title(name) for name in names), "target"])
    yield cells_line(["---", "--:", "--:", "--:", *("--:" for _ in names), "---"])
    for row in rows:
        rivals = (rival_cell(row, name) for name in names)
        cells = [row.case.title, *own_cells(row), *rivals, verdict_text(row, run.isa)]
        yield cells_line(cells)


def own_cells(row: Row) -> list[str]:
    """Time, per cent of the ceiling and error of regard."""
    if row.case.group == "call":
        return [time_text(row.own.seconds), "", row.error_text()]
    speed = f"{time_text(row.own.seconds)} ({row.rate_text()})"
    return [speed, row.percent_text(), row.error_text()]


def rival_cell(row: Row, name: str) -> str:
    """Give a rival's time, how it compares and its error, also where it is not exact."""
    if name not in row.results:
        return "-"
    result = row.results[name]
    note = "" if row.trusted(name) else ", not exact"
    ratio = ratio_text(row, name) if row.trusted(name) else f"{row.ratio(name):.2f}x"
    return f"{time_text(result.seconds)}, {ratio}, {row.error_text(name)}{note}"


def ratio_text(row: Row, name: str) -> str:
    """Give a rival's time over regard's, with a word when the row is lost."""
    ratio = row.ratio(name)
    return f"{ratio:.2f}x" if ratio >= 1 else f"**{ratio:.2f}x, lost**"


def verdict_text(row: Row, isa: str) -> str:
    """Put a target and its outcome into words."""
    verdict = row.verdict(isa)
    if verdict is None:
        return "none"
    outcome = "met" if verdict.met else f"**missed {verdict.missed}**"
    reached = "" if verdict.reached.endswith("%") else f" ({verdict.reached})"
    return f"{verdict.target}: {outcome}{reached}"


def summary_lines(run: Report, rows: list[Row]) -> Iterator[str]:
    """How many targets were met, how many rows were won."""
    verdicts = [verdict for row in rows if (verdict := row.verdict(run.isa))]
    met = sum(verdict.met for verdict in verdicts)
    line = f"Targets met: {met} of {len(verdicts)}." if verdicts else "No targets for this run."
    best = [(row, name) for row in rows if (name := row.best_rival())]
    if best:
        lost = [row.case.title for row, name in best if row.ratio(name) < 1]
        line += f" Faster than every rival in {len(best) - len(lost)} of {len(best)} rows"
        line += f"; lost: {', '.join(lost)}." if lost else "."
    yield line
    of_largest = ", relative to the largest number of each gradient"
    yield (
        "Error: largest absolute difference from the float64 oracle"
        f"{of_largest if rows and rows[0].case.backward else ''}. Times are medians of at "
        f"least {run.settings['minimum']} calls after 2 warm-ups, contenders in turn."
    )
    if any(row.units for row in rows):
        yield "u: units of the output's precision, relative to the largest value."
    if any(row.disturbed for row in rows):
        yield "?: above 100 %, so the ceiling was disturbed."


def unsupported_lines(rows: list[Row]) -> Iterator[str]:
    """Why a rival has no number in a row."""
    titles: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row.unsupported.items():
            titles.setdefault((title(name), reason), []).append(row.case.title)
    if titles:
        yield ""
        yield "Not measured:"
        yield ""
        yield from sorted(
            f"- {name}: {case}{reason}"
            for (name, reason), cases in titles.items()
            for case in ([""] if len(cases) == len(rows) else [f"{case}: " for case in cases])
        )


def package_lines(package: dict[str, Any]) -> list[str]:
    """Memory, threads, import, size."""
    lines = ["| | measured | target |", "|---|--:|---|"]
    for finding in package["findings"]:
        outcome = f"**missed {finding['missed']}**" if finding["missed"] else "met"
        target = f"{finding['target']}: {outcome}"
        lines.append(cells_line([finding["name"], finding["reached"], target]))
    return lines


def repeat_lines(run: Report) -> Iterator[str]:
    """Give the commands that repeat a run."""
    pins = (f"{RIVALS[name].packages[0]}=={base_version(run, name)}" for name in run.rivals)
    extras = (package for name in run.rivals for package in RIVALS[name].packages[1:])
    if run.rivals:
        yield f"pip install {' '.join([*pins, *extras])}"
    program = "python -m benchmarks.compare" if run.rivals else "regard bench"
    command = f"{program} --isa {run.isa} --threads {run.threads}"
    yield command + (f" --rivals {','.join(run.rivals)}" if run.rivals else "")


def base_version(run: Report, name: str) -> str:
    """Give a version without the local part, which an index does not know."""
    return run.contenders[name].partition("+")[0]


def title(name: str) -> str:
    """How a rival writes its own name."""
    return RIVALS[name].title if name in RIVALS else name


def cells_line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


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
        args.root / "README.md": {(BEGIN, END): readme_text(results)},
        args.root / "docs" / "performance.md": {
            (BEGIN, END): performance_text(results),
            (OPTIONS_BEGIN, OPTIONS_END): options_text(results),
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

        picture = args.root / "docs" / "speed.svg"
        save_plot(results.headline, picture)
        print(f"drawn: {picture.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
