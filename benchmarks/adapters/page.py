"""Writes the tables of docs/guide/transformers.md: architectures, and what users get.

    python -m benchmarks.adapters.page benchmarks/results/transformers*.json

What stands between ``<!-- architectures:begin -->`` and ``<!-- architectures:end -->`` is replaced,
and between ``<!-- users:begin -->`` and ``<!-- users:end -->``.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.adapters.checks import PADDINGS
from benchmarks.adapters.tables import between_marks, milliseconds
from benchmarks.adapters.trials import NO, NONE, OWN, SAME

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "transformers.md"
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


def rewrite(page: str, result: dict[str, Any]) -> str:
    """Put another table into the page."""
    mark, lines = (
        ("users", users_table(result)) if "rows" in result else ("architectures", table(result))
    )
    return between_marks(page, mark, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, nargs="+", help="what the benchmarks wrote")
    arguments = parser.parse_args()
    page = PAGE.read_text("utf-8")
    for file in arguments.json:
        page = rewrite(page, json.loads(file.read_text("utf-8")))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
