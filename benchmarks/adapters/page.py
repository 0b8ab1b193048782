"""Writes the tables of docs/guide/transformers.md and docs/guide/jax.md.

    python -m benchmarks.adapters.page benchmarks/results/transformers*.json
    python -m benchmarks.adapters.page benchmarks/results/jax.json

What stands between ``<!-- architectures:begin -->`` and ``<!-- architectures:end -->`` is replaced,
and likewise what users get ("users"), and times with JAX ("jax").
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.adapters.checks import NO, NONE, OWN, PADDINGS, SAME

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"
# Who is compared with whom: what a user runs now.
_OTHERS = ("sdpa", "sdpa, sorted buckets", "eager")
_OURS = ("regard", "regard packed")
COLUMNS = {
    "forward": ("forward",),
    "gradients": ("gradients",),
    "padding": PADDINGS,
    "greedy": ("greedy",),
    "static cache": ("static",),
    "beams": ("beams",),
    "bf16": ("bf16",),
}
CELLS = {SAME: "✓", OWN: "own", NO: "✗", NONE: ""}


def table(result: dict[str, Any]) -> str:
    """Rows of all that was tried, and what was not."""
    tried = [row for row in result["architectures"] if not row["skipped"]]
    skipped = Counter(
        row["skipped"].split(":")[0] for row in result["architectures"] if row["skipped"]
    )
    versions = result["versions"]
    whole = sum(set(row["found"].values()) <= {SAME, NONE} for row in tried)
    lines = [
        f"{len(tried)} architectures with transformers {versions['transformers']}, torch "
        f"{versions['torch']}, {result['isa']}; {whole} of them are eager's in all that they have.",
        "",
        f"| architecture | kind | {' | '.join(COLUMNS)} |",
        "|" + "---|" * (2 + len(COLUMNS)),
    ]
    for row in tried:
        cells = (
            cell([row["found"].get(check, NONE) for check in checks]) for checks in COLUMNS.values()
        )
        lines.append(f"| {row['name']} | {row['role']} | {' | '.join(cells)} |")
    left_out = "; ".join(f"{count} {why}" for why, count in skipped.most_common())
    lines += ["", f"Not tried: {left_out}."]
    return "\n".join(lines)


def cell(found: list[str]) -> str:
    """Show the worst of some verdicts."""
    worst = next((x for x in (NO, OWN, SAME) if x in found), NONE)
    return CELLS[worst]


def users_table(result: dict[str, Any]) -> str:
    """Milliseconds of each contender, and how many times regard's the others take."""
    names = (*_OURS, *_OTHERS)
    versions, peaks = result["versions"], result["peak_mib"]
    lines = [
        f"Measured on {result['machine']['cpu']}, {result['machine']['cores']} cores, transformers "
        f"{versions['transformers']}, torch {versions['torch']}. Milliseconds, medians of calls in "
        "turn; in brackets, how many times those of regard (packed where it is there).",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "--:|" * len(names),
    ]
    for row in result["rows"]:
        seconds = row["seconds"]
        own = seconds.get("regard packed", seconds["regard"])
        cells = []
        for name in names:
            cell = milliseconds(seconds[name]) if name in seconds else ""
            if cell and name in _OTHERS:
                cell += f" ({seconds[name] / own:.2f}x)"
            cells.append(cell)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    if peaks:
        ours = peaks["regard"]
        cells = [
            f"{peaks[name]:.0f} MiB" + (f" ({peaks[name] / ours:.2f}x)" if name in _OTHERS else "")
            if name in peaks
            else ""
            for name in names
        ]
        lines.append(f"| memory of 8,192 tokens | {' | '.join(cells)} |")
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """Three digits, or as many as there are before the point."""
    return f"{seconds * 1e3:.{0 if seconds >= 1 else 3}{'f' if seconds >= 1 else 'g'}}"


def jax_table(result: dict[str, Any]) -> str:
    """Milliseconds of each contender, and how many times regard's the others take."""
    machine, versions = result["machine"], result["versions"]
    names = tuple(result["times"][0]["seconds"])
    lines = [
        f"Measured on {machine['cpu']}, {machine['cores']} cores, {result['isa']}, JAX "
        f"{versions['jax']}. Milliseconds, medians of calls in turn; in brackets, how many times "
        "those of regard. 8 heads of dimension 64 but for the single query (4 batch elements, "
        "dimension 128); float32 unless named; gradients by all three.",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "--:|" * len(names),
    ]
    for row in result["times"]:
        seconds, own = row["seconds"], row["seconds"]["regard"]
        cells = [
            milliseconds(seconds[name]) + (f" ({seconds[name] / own:.2f}x)" if index else "")
            for index, name in enumerate(names)
        ]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


#: By what a result holds: the page, the mark there, and what makes the table.
TABLES = {
    "architectures": ("transformers.md", "architectures", table),
    "rows": ("transformers.md", "users", users_table),
    "times": ("jax.md", "jax", jax_table),
}


def rewrite(page: str, mark: str, lines: str) -> str:
    """Put another table into the page."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not rest or not after:
        raise ValueError(f"the page has no {begin} ... {end}")
    return f"{before}{begin}\n{lines}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, nargs="+", help="what the benchmarks wrote")
    arguments = parser.parse_args()
    for file in arguments.json:
        result = json.loads(file.read_text("utf-8"))
        name, mark, table_of = next(TABLES[key] for key in TABLES if key in result)
        page = GUIDE / name
        page.write_text(rewrite(page.read_text("utf-8"), mark, table_of(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
