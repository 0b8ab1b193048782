"""The tables and notes that the pages are made of: rows of results as lines of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.compare.cpus import design
from benchmarks.compare.report import OWN, Report, Row
from benchmarks.compare.rivals import RIVALS
from regard.bench.text import threads_text, time_text


def options_table(rows: list[Row], run: Report, judged: bool) -> Iterator[str]:
    """Give the time of each option beside that of the same call without it.

    With the target where that is wanted, and otherwise with the rivals.
    """
    names = [] if judged else rivals_in(rows, run)
    head = ["batch x heads x length x head_dim", "regard", "plain", "x plain", "error"]
    yield cells_line([*head, *(title(name) for name in names), *(["target"] if judged else [])])
    right = ["--:"] * (len(head) - 1 + len(names))
    yield cells_line(["---", *right, *(["---"] if judged else [])])
    for row in rows:
        times = [row.own.seconds] + ([row.baseline.seconds] if row.baseline else [])
        cells = [row.case.title, *map(time_text, times), f"{row.times_plain():.2f}"]
        cells += [row.error_text(), *(rival_cell(row, name) for name in names)]
        yield cells_line([*cells, *([verdict_text(row, run)] if judged else [])])


def plain_rows(run: Report) -> list[Row]:
    """Rows of the large table."""
    return [row for row in run.rows if row.case.group != "options" and not row.case.backward]


def gradient_rows(run: Report) -> list[Row]:
    """Rows of forward and backward pass together."""
    return [row for row in run.rows if row.case.group == "backward"]


def option_rows(run: Report) -> list[Row]:
    """Rows that say what an option costs."""
    return [row for row in run.rows if row.times_plain() is not None]


def machine_lines(run: Report, what: str = "Measured") -> Iterator[str]:
    """Where, when, with what."""
    machine = run.machine
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    ceilings = ", ".join(f"{gf:.0f} GFLOP/s in {dtype}" for dtype, gf in run.ceilings().items())
    yield (
        f"{what} {run.date} on {machine['cpu']}, {machine['cores']} cores ({caches}), "
        f"{machine['system']}, with {run.isa} and {threads_text(run.threads)}. "
        f"Ceiling (FMA in registers, measured in the same run): {ceilings}"
        + (f"; of decode, {run.bandwidth():.1f} GB/s from memory." if run.bandwidth() else ".")
    )
    versions = [f"{title(name)} {run.contenders[name]}" for name in run.rivals]
    yield f"regard {run.contenders[OWN]}" + (f"; {', '.join(versions)}." if versions else ".")


def side_by_side(rows: dict[str, list[Row]]) -> Iterator[str]:
    """Put the rows of several CPUs beside each other: regard, and the best rival of each case.

    `rows` has a CPU's, by its name. A case that a CPU was not measured with has empty cells there.
    """
    head = [cell for cpu in rows for cell in (design(cpu), "best rival")]
    yield cells_line(["batch x heads x length x head_dim", *head])
    yield cells_line(["---", *("--:" for _ in head)])
    found = {cpu: {row.case.name: row for row in of_cpu} for cpu, of_cpu in rows.items()}
    for name in unique(row.case.name for of_cpu in rows.values() for row in of_cpu):
        of_case = [found[cpu].get(name) for cpu in rows]
        titles = [row.case.title for row in of_case if row is not None]
        cells = [cell for row in of_case for cell in _beside(row)]
        yield cells_line([titles[0], *cells])


def _beside(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    time, *share, error = own_cells(row)
    time = time.partition(" (")[0]
    own = ", ".join(filter(None, [time, *share, error]))
    if (best := row.best_rival()) is None:
        return own, "none"
    result = row.results[best]
    words = " ".join(filter(None, [title(best), result.way, time_text(result.seconds)]))
    note = ", another computation" * row.another_computation(best)
    return own, f"{words}, {ratio_text(row, best)}, {row.error_text(best)}{note}"


def compared_table(run: Report, rows: list[Row]) -> Iterator[str]:
    """Speed and error of every contender, and which is the best rival."""
    names = rivals_in(rows, run)
    head = ["batch x heads x length x head_dim", "regard", "error", "best rival"]
    yield cells_line([*head, *(title(name) for name in names)])
    yield cells_line(["---", "--:", "--:", "---", *("--:" for _ in names)])
    for row in rows:
        best = row.best_rival()
        cells = [row.case.title, time_text(row.own.seconds), row.error_text()]
        cells.append(f"{title(best)}, {ratio_text(row, best)}" if best else "none")
        yield cells_line([*cells, *(rival_cell(row, name) for name in names)])


def judged_table(run: Report, rows: list[Row]) -> Iterator[str]:
    """Speed, share of the ceiling, error and target of each case."""
    yield "| batch x heads x length x head_dim | regard | of the ceiling | error | target |"
    yield "| --- | --: | --: | --: | --- |"
    for row in rows:
        yield cells_line([row.case.title, *own_cells(row), verdict_text(row, run)])


def rivals_in(rows: list[Row], run: Report) -> list[str]:
    """Name the rivals that have a result in some of the rows."""
    return [name for name in run.rivals if any(name in row.results for row in rows)]


def own_cells(row: Row) -> list[str]:
    """Time, per cent of the ceiling and error of regard."""
    if row.case.group == "call":
        return [time_text(row.own.seconds), "", row.error_text()]
    speed = f"{time_text(row.own.seconds)} ({row.rate_text()})"
    return [speed, row.percent_text(), row.error_text()]


def rival_cell(row: Row, name: str) -> str:
    """Give a rival's operator and time, how it compares, its error, also where not exact."""
    if name not in row.results:
        return "-"
    result = row.results[name]
    note = ", another computation" * row.another_computation(name)
    note = note if row.trusted(name) else ", not exact"
    ratio = ratio_text(row, name) if row.trusted(name) else f"{row.ratio(name):.2f}x"
    time = " ".join(filter(None, [result.way, time_text(result.seconds)]))
    return f"{time}, {ratio}, {row.error_text(name)}{note}"


def ratio_text(row: Row, name: str) -> str:
    """Give a rival's time over regard's, with a word when the row is lost."""
    ratio = row.ratio(name)
    return f"{ratio:.2f}x" if ratio >= 1 else f"**{ratio:.2f}x, lost**"


def verdict_text(row: Row, run: Report) -> str:
    """Put a target and its outcome into words."""
    verdict = row.verdict(run.setting)
    if verdict is None:
        return "none"
    outcome = "met" if verdict.met else f"**missed {verdict.missed}**"
    reached = "" if verdict.reached.endswith("%") else f" ({verdict.reached})"
    return f"{verdict.target}: {outcome}{reached}"


def best_rivals(rows: list[Row]) -> list[tuple[Row, str]]:
    """Pair each row that has rivals with the best of them."""
    return [(row, name) for row in rows if (name := row.best_rival())]


def row_lost(row: Row) -> bool:
    """Whether a rival is faster."""
    best = row.best_rival()
    return best is not None and row.ratio(best) < 1


def row_missed(row: Row, run: Report) -> bool:
    """Whether a target is missed."""
    verdict = row.verdict(run.setting)
    return verdict is not None and not verdict.met


def won_text(rows: list[tuple[Report, Row]]) -> str:
    """Say in how many rows no rival is faster, and which the others are."""
    best = best_rivals([row for _, row in rows])
    if not best:
        return ""
    lost = [row.case.title for row, _ in best if row_lost(row)]
    line = f"Faster than every rival in {len(best) - len(lost)} of {len(best)} rows"
    return line + (f"; lost: {', '.join(lost)}." if lost else ".")


def met_text(rows: list[tuple[Report, Row]]) -> str:
    """Say how many targets were met."""
    verdicts = [verdict for run, row in rows if (verdict := row.verdict(run.setting))]
    met = sum(verdict.met for verdict in verdicts)
    return f"Targets met: {met} of {len(verdicts)}." if verdicts else ""


def note_lines(rows: list[Row], run: Report) -> Iterator[str]:
    """Say what the columns mean."""
    gradients = [row.case.backward for row in rows]
    of_largest = ", of gradients" if any(gradients) and not all(gradients) else ","
    of_largest += " relative to the largest number of each gradient"
    yield (
        "Error: largest absolute difference from the float64 oracle"
        f"{of_largest if any(gradients) else ''}. Times are medians of at "
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
        for (name, reason), cases in sorted(titles.items()):
            which = "" if len(cases) == len(rows) else f"{', '.join(cases)}: "
            yield f"- {name}: {which}{reason}"


def package_lines(package: dict[str, Any], judged: bool = False) -> list[str]:
    """Memory, threads, import, size, with the targets where they are wanted."""
    more = (" target |", "---|") if judged else ("", "")
    lines = [f"| | measured |{more[0]}", f"|---|--:|{more[1]}"]
    for finding in package["findings"]:
        outcome = f"**missed {finding['missed']}**" if finding["missed"] else "met"
        cells = [finding["name"], finding["reached"], f"{finding['target']}: {outcome}"]
        lines.append(cells_line(cells if judged else cells[:2]))
    return lines


def repeat_lines(run: Report) -> Iterator[str]:
    """Give the commands that repeat a run."""
    pins = (f"{RIVALS[name].packages[0]}=={base_version(run, name)}" for name in run.rivals)
    extras = (package for name in run.rivals for package in RIVALS[name].packages[1:])
    if run.rivals:
        yield from ("pip install \\", f"  {' '.join([*pins, *extras])}")
    program = "python -m benchmarks.compare" if run.rivals else "regard bench"
    command = f"{program} --isa {run.isa} --threads {run.threads}"
    if run.rivals:
        yield from (f"{command} \\", f"  --rivals {','.join(run.rivals)}")
    else:
        yield command


def base_version(run: Report, name: str) -> str:
    """Give a version without the local part, which an index does not know."""
    return run.contenders[name].partition("+")[0]


def title(name: str) -> str:
    """How a rival writes its own name."""
    return RIVALS[name].title if name in RIVALS else name


def unique(things: Iterable[Any]) -> list[Any]:
    """Each thing once, in the order of the first time; runs are not hashable."""
    found: list[Any] = []
    for thing in things:
        if thing not in found:
            found.append(thing)
    return found


def cells_line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
