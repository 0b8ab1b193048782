"""The tables of docs/studies/page-bounds.md, from the JSON of the study.

Each stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``, and is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.adapters.tables import between_marks
from benchmarks.studies.page_bounds.bounds import BOUNDS, SMALLEST
from benchmarks.studies.page_bounds.made_up import KINDS
from benchmarks.studies.page_bounds.measure import DEPTH, MAXIMA, ROWS, TOLERANCES, WEIGHTS
from benchmarks.studies.page_bounds.model import CONTEXTS, TEXTS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "studies" / "page-bounds.md"
KNOWN = (MAXIMA, WEIGHTS)
BEST = SMALLEST.replace("these", "the bounds")  # where the bounds are not above it
PAGES = [rows for rows in ROWS if rows > 1]
LONGEST, EPS, SIZE = CONTEXTS[-1], 1e-3, 64  # of the question that decides
BAND = 5  # layers that share a column

Result = dict[str, Any]


def rows_where(result: Result, part: str, **wanted: Any) -> list[dict[str, Any]]:
    found = [
        row for row in result[part] if all(row[name] == value for name, value in wanted.items())
    ]
    if not found:
        raise ValueError(f"the results have no {part} with {wanted}")
    return found


def of_model(result: Result, what: str, **wanted: Any) -> float:
    """Give a number of the model at its longest context, the mean over texts."""
    return fmean(
        rows_where(result, "shares", keys=text, context=LONGEST, **wanted)[0][what]
        for text in TEXTS
    )


def percent(share: float) -> str:
    """Write a share to a tenth of a per cent; 0 is none at all."""
    if 0 < share < 5e-4:
        return "< 0.1"
    return f"{100 * share:.1f}" if share else "0"


def table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def columns() -> list[str]:
    return [f"{size} rows, {eps:.0e}".replace("e-0", "e-") for size in PAGES for eps in TOLERANCES]


def shares(result: Result, what: str) -> str:
    """Bounds by page size and tolerance."""

    def rows() -> Iterator[list[str]]:
        for bound in (*BOUNDS, SMALLEST, *KNOWN):
            cells = (
                percent(of_model(result, what, rows=size, eps=eps, bound=bound))
                for size in PAGES
                for eps in TOLERANCES
            )
            yield [bound, *cells]
        single = [
            percent(of_model(result, what, rows=1, eps=eps, bound=WEIGHTS)) for eps in TOLERANCES
        ]
        yield ["single keys, every weight known", *single * len(PAGES)]

    return table(["page left unread by", *columns()], rows())


def texts(result: Result) -> str:
    """Texts and contexts, where it is decided."""
    kinds = ((SMALLEST, SIZE), (MAXIMA, SIZE), (WEIGHTS, SIZE), (WEIGHTS, 1))

    def rows() -> Iterator[list[str]]:
        for text in TEXTS:
            for context in CONTEXTS:
                found = [
                    rows_where(
                        result, "shares", keys=text, context=context, rows=size, bound=bound,
                        eps=EPS,
                    )[0]
                    for bound, size in kinds
                ]  # fmt: skip
                cells = (f"{percent(row['kv_head'])} ({row['half']})" for row in found)
                yield [f"{text}, {context:,} keys", *cells]

    names = (BEST, *KNOWN, "single keys, every weight known")
    return table(["", *names], rows())


def distances(result: Result) -> str:
    """Nats between a bound and the truth."""

    def rows() -> Iterator[list[str]]:
        for bound in (DEPTH, *BOUNDS, SMALLEST):
            cells = (
                fmean(
                    rows_where(
                        result, "distances", keys=text, context=LONGEST, rows=size, bound=bound
                    )[0]["nats"]
                    for text in TEXTS
                )
                for size in PAGES
            )
            yield [bound, *(f"{nats:.1f}" for nats in cells)]

    return table(["nats", *(f"{size} rows" for size in PAGES)], rows())


def layers(result: Result) -> str:
    """Pages that could be left unread if more were known, by layers."""
    one = rows_where(result, "shares", keys=next(iter(TEXTS)), rows=SIZE)[0]
    starts = range(0, len(one["layers"]), BAND)

    def rows() -> Iterator[list[str]]:
        for bound in (SMALLEST, *KNOWN):
            found = [
                rows_where(
                    result, "shares", keys=text, context=LONGEST, rows=SIZE, eps=EPS, bound=bound
                )[0]["layers"]
                for text in TEXTS
            ]
            cells = (fmean(x for text in found for x in text[i : i + BAND]) for i in starts)
            yield [BEST if bound == SMALLEST else bound, *map(percent, cells)]

    return table(["layers", *(f"{i} to {i + BAND - 1}" for i in starts)], rows())


def made_up(result: Result) -> str:
    """Keys of no model."""

    def rows() -> Iterator[list[str]]:
        for kind in KINDS:
            for bound in (*BOUNDS, *KNOWN):
                cells = (
                    rows_where(result, "shares", keys=kind, rows=size, eps=eps, bound=bound)[0]
                    for size in PAGES
                    for eps in TOLERANCES
                )
                yield [f"{kind}: {bound}", *(percent(row["kv_head"]) for row in cells)]

    return table(["keys: page left unread by", *columns()], rows())


def verdict(result: Result) -> str:
    """Answer the question that the study was made for."""

    def share(bound: str, rows: int = SIZE, what: str = "kv_head") -> float:
        return of_model(result, what, rows=rows, eps=EPS, bound=bound)

    best = max(share(bound, rows) for bound in (*BOUNDS, SMALLEST) for rows in (64, 128))
    worst = max(row["error"] for row in result["shares"])
    if best >= 0.5:
        answer = "At least half of the pages: it is worth building"
    else:
        answer = "Far less than half of the pages: it is not built"
    return (
        f"**{answer}.** At eps = 0.001 and 8,192 keys, the best of the bounds leaves "
        f"{percent(best)} % of the pages of 64 or 128 rows unread. If the largest score of each "
        f"page of {SIZE} rows were known without reading it, {percent(share(MAXIMA))} % could be "
        f"left; if its weight were known, {percent(share(WEIGHTS))} %; if the weight of every "
        f"single key were known, {percent(share(WEIGHTS, 1))} % of the keys. For one query head "
        "alone, which saves nothing where others need the page, these are "
        f"{percent(share(MAXIMA, what='query_head'))} %, "
        f"{percent(share(WEIGHTS, what='query_head'))} % and "
        f"{percent(share(WEIGHTS, 1, 'query_head'))} %.\n\n"
        "Over everything that was measured, the largest error of an output was "
        f"{percent(worst)} % of what is proven."
    )


PARTS: dict[str, Callable[[Result], str]] = {
    "verdict": verdict,
    "kv-heads": lambda result: shares(result, "kv_head"),
    "query-heads": lambda result: shares(result, "query_head"),
    "texts": texts,
    "distances": distances,
    "layers": layers,
    "made-up": made_up,
}


def rewrite(page: str, result: Result) -> str:
    """Put other tables into the page."""
    for mark, lines in PARTS.items():
        page = between_marks(page, mark, lines(result))
    return page
