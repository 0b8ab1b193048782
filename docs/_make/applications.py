"""Write the table of applications in docs/gallery.md from examples/figures/*.json.

python docs/_make/applications.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gallery.md"
BEGIN, END = "<!-- applications:begin -->\n", "<!-- applications:end -->"


def number(value: float, unit: str) -> str:
    """Write a figure with its unit."""
    return f"{value:.4g} {unit}".strip()


def row(name: str, found: dict[str, Any], figure: dict[str, Any]) -> str:
    """Write one figure of a program."""
    beside = ", ".join(
        f"{who} {number(value, figure['unit'])}" for who, value in figure["beside"].items()
    )
    return (
        f"| [{found['application']}](gallery/{name}.md) | {figure['name']} "
        f"| {number(figure['value'], figure['unit'])} | {beside} |"
    )


def program(file: Path) -> str:
    """Whose figures they are: what comes before a point, as of sentiment.chinese.json."""
    return file.name.split(".")[0]


def table() -> str:
    """Return the rows of all applications, in the order of their programs."""
    lines = ["| Application | What was measured | regard | Beside it |", "|---|---|--:|---|"]
    files = (ROOT / "examples" / "figures").glob("*.json")
    for file in sorted(files, key=lambda file: (program(file), len(file.name))):
        found = json.loads(file.read_text("utf-8"))
        lines += [row(program(file), found, figure) for figure in found["figures"]]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table as it has to be."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
