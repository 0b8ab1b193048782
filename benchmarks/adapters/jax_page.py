"""Writes the table of docs/guide/jax.md.

    python -m benchmarks.adapters.jax_page benchmarks/results/jax.json

What stands between ``<!-- jax:begin -->`` and ``<!-- jax:end -->`` is replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.adapters.tables import between_marks, milliseconds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "jax.md"


def table(result: dict[str, Any]) -> str:
    """Milliseconds of each contender, and how many times regard's the others take."""
    machine, versions = result["machine"], result["versions"]
    names = tuple(result["rows"][0]["seconds"])
    lines = [
        f"Measured on {machine['cpu']}, {machine['cores']} cores, {result['isa']}, JAX "
        f"{versions['jax']}. Milliseconds, medians of calls in turn; in brackets, how many times "
        "those of regard. 8 heads of dimension 64 but for the single query (4 batch elements, "
        "dimension 128); float32 unless named; gradients by all three.",
        "",
        f"| | {' | '.join(names)} |",
        "|---|" + "--:|" * len(names),
    ]
    for row in result["rows"]:
        seconds, own = row["seconds"], row["seconds"]["regard"]
        cells = [
            milliseconds(seconds[name]) + (f" ({seconds[name] / own:.2f}x)" if index else "")
            for index, name in enumerate(names)
        ]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rewrite(page: str, result: dict[str, Any]) -> str:
    """Put another table into the page."""
    return between_marks(page, "jax", table(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="what benchmarks.adapters.jax_times wrote")
    result = json.loads(parser.parse_args().json.read_text("utf-8"))
    PAGE.write_text(rewrite(PAGE.read_text("utf-8"), result), encoding="utf-8")


if __name__ == "__main__":
    main()
