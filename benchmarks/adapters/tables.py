"""What the pages of adapters share: numbers in cells, and where tables stand."""

from __future__ import annotations


def milliseconds(seconds: float) -> str:
    """Three digits, or as many as there are before the point."""
    return f"{seconds * 1e3:.{0 if seconds >= 1 else 3}{'f' if seconds >= 1 else 'g'}}"


def between_marks(page: str, mark: str, lines: str) -> str:
    """Put other lines between ``<!-- mark:begin -->`` and ``<!-- mark:end -->``."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    if not rest or not after:
        raise ValueError(f"the page has no {begin} ... {end}")
    return f"{before}{begin}\n{lines}\n{end}{after}"
