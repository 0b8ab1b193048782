"""Writes the table of architectures into docs/guide/transformers.md.

    python -m benchmarks.adapters.page benchmarks/results/transformers.json

What stands between ``<!-- architectures:begin -->`` and ``<!-- architectures:end -->`` is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.adapters.checks import NO, NONE, OWN, PADDINGS, SAME

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "transformers.md"
BEGIN, END = "<!-- architectures:begin -->", "<!-- architectures:end -->"
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


def rewrite(page: str, result: dict[str, Any]) -> str:
    """Put another table into the page."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"the page has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{table(result)}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="what benchmarks.adapters wrote")
    arguments = parser.parse_args()
    result = json.loads(arguments.json.read_text("utf-8"))
    PAGE.write_text(rewrite(PAGE.read_text("utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
