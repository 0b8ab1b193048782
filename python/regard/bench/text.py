"""How numbers and tables are written."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator


def threads_text(threads: int) -> str:
    """``1 thread`` or ``2 threads``."""
    return f"{threads} thread" + ("" if threads == 1 else "s")


def time_text(seconds: float) -> str:
    """Write a time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:#.3g} {unit}".replace(". ", " ")
    return f"{seconds * 1e6:#.3g} µs".replace(". ", " ")


def folded(line: str) -> list[str]:
    """Fold a line at the 80 columns of a terminal."""
    return textwrap.wrap(line, 80, subsequent_indent="  ", break_on_hyphens=False)


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """Lines of a text table; the first and last columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    for row in rows:
        cells = (
            text.ljust(width) if index in (0, last) else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
