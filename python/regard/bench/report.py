"""What a run of the benchmark found: plain data, its JSON and its text.

The data has room for other contenders beside regard: benchmarks/compare in the repository measures
some, and writes files of the same form.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from regard.bench import accuracy, storage
from regard.bench.case import Case
from regard.bench.text import aligned, folded, threads_text, time_text

SCHEMA = 1
KIND = "bench"
OWN = "regard"

Self = TypeVar("Self", bound="Report")


@dataclass(frozen=True)
class Result:
    """One contender on one case: seconds a call (median and quartiles) and its error.

    `way` names the operator or formula that was used, `error` is the largest absolute difference
    from the float64 oracle (of gradients relative to their largest number), `cores` the CPU time
    per elapsed time.
    """

    seconds: float
    low: float
    high: float
    samples: int
    cores: float
    error: float | None = None
    way: str = ""


@dataclass(frozen=True)
class Row:
    """One case: the results, and the ceiling measured while they were taken.

    `ceiling` is in GFLOP/s; `bandwidth`, in GB/s, is that of reading as many bytes as a case that
    is bound by memory has to; `units` gives errors in units of an output of 16 bits; `baseline` is
    the same case without what it is there for, and its `way` says what that is; `unsupported` maps
    a contender that cannot compute the case to the reason.
    """

    case: Case
    ceiling: float
    results: dict[str, Result]
    baseline: Result | None = None
    unsupported: dict[str, str] = field(default_factory=dict)
    bandwidth: float | None = None
    units: dict[str, float] = field(default_factory=dict)

    @property
    def own(self) -> Result:
        """The result of regard itself."""
        return self.results[OWN]

    def gflops(self, name: str = OWN) -> float:
        """Return the useful GFLOP/s of a contender."""
        return self.case.flops / self.results[name].seconds / 1e9

    def gigabytes(self, name: str = OWN) -> float:
        """Return the GB/s at which a contender reads keys and values."""
        return self.case.bytes / self.results[name].seconds / 1e9

    def percent(self, name: str = OWN) -> float:
        """Return the useful GFLOP/s, or GB/s, of a contender as per cent of the ceiling."""
        if self.bandwidth is not None:
            return 100 * self.gigabytes(name) / self.bandwidth
        return 100 * self.gflops(name) / self.ceiling

    @property
    def disturbed(self) -> bool:
        """Whether the ceiling was measured too low: nothing is faster than it."""
        if self.case.group == "call":  # has no ceiling to speak of
            return False
        return any(self.percent(name) > 100 for name in self.results if self.trusted(name))

    def rate_text(self, name: str = OWN) -> str:
        """Write the speed that is compared with the ceiling."""
        if self.bandwidth is not None:
            return f"{self.gigabytes(name):.1f} GB/s"
        return f"{self.gflops(name):.0f} GFLOP/s"

    def percent_text(self, name: str = OWN) -> str:
        """Write the per cent of the ceiling, with a question mark where that was disturbed."""
        return f"{self.percent(name):.1f} %" + ("?" if self.disturbed else "")

    def error_text(self, name: str = OWN) -> str:
        """Write an error with two digits, and in units of the output where it has 16 bits."""
        error = self.results[name].error
        if error is None:
            return ""
        units = f" ({self.units[name]:.2f} u)" if name in self.units else ""
        return f"{error:.1e}{units}"

    def baseline_text(self) -> str:
        """Write the time as a multiple of that of the baseline."""
        if self.baseline is None:
            return ""
        return f"{self.own.seconds / self.baseline.seconds:.2f}x"

    def trusted(self, name: str) -> bool:
        """Whether a contender's error is one that the case's dtype explains."""
        error = self.results[name].error
        return error is not None and accuracy.acceptable(self.case, error, name == OWN)

    def another_computation(self, name: str) -> bool:
        """Whether a contender is so much less exact than regard that it computes something else."""
        error, own = self.results[name].error, self.own.error
        if name == OWN or error is None or own is None:
            return False
        return accuracy.another_computation(self.case, error, own)

    def cells(self) -> list[str]:
        """Write what a table says of the case and of regard itself."""
        call = self.case.group == "call"  # has no ceiling to speak of
        speed = ["", ""] if call else [self.rate_text(), self.percent_text()]
        return [self.case.name, time_text(self.own.seconds), *speed, self.error_text()]


@dataclass(frozen=True)
class Report:
    """A whole run.

    `contenders` maps each to its version, `missing` each that was asked for and could not be had
    to the reason, `settings` tells how it was measured.
    """

    row_type: ClassVar[type[Row]] = Row

    date: str
    isa: str
    threads: int
    machine: dict[str, Any]
    contenders: dict[str, str]
    missing: dict[str, str]
    settings: dict[str, Any]
    rows: Sequence[Row]

    def ceilings(self) -> dict[str, float]:
        """Return the best ceiling seen for each dtype that is multiplied, in GFLOP/s."""
        best: dict[str, float] = {}
        for row in self.rows:
            name = storage.held_to(row.case.dtype, self.isa)
            best[name] = max(best.get(name, 0.0), row.ceiling)
        return best

    def bandwidth(self) -> float | None:
        """Return the best bandwidth seen at reading what no cache holds, in GB/s."""
        seen = [r.bandwidth for r in self.rows if r.bandwidth is not None and r.case.bytes > 2**27]
        return max(seen, default=None)

    def disturbed(self) -> list[Row]:
        """Rows whose ceiling was measured too low."""
        return [row for row in self.rows if row.disturbed]

    def wrong(self) -> list[Row]:
        """Rows in which regard's own error is too large."""
        return [row for row in self.rows if not row.trusted(OWN)]

    def starved(self) -> list[Row]:
        """Return the rows in which other processes took much of the CPU time."""
        # Shorter calls may rightly run on one thread.
        return [
            row
            for row in self.rows
            if row.own.seconds > 1e-3 and row.own.cores < 0.9 * self.threads
        ]

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return (
            json.dumps(
                {"schema": SCHEMA, "kind": KIND, **asdict(self)}, indent=1, ensure_ascii=False
            )
            + "\n"
        )

    @classmethod
    def from_json(cls: type[Self], text: str) -> Self:
        """Read back what :meth:`to_json` wrote.

        Raises
        ------
        ValueError
            If the text is not such a report.
        """
        data = json.loads(text)
        what = (data.pop("schema", None), data.pop("kind", None)) if isinstance(data, dict) else ()
        if what != (SCHEMA, KIND):
            raise ValueError(f"not a {KIND} report of schema {SCHEMA}")
        data["rows"] = [
            cls.row_type(
                case=Case(**row["case"]),
                ceiling=row["ceiling"],
                results={name: Result(**result) for name, result in row["results"].items()},
                baseline=None if row["baseline"] is None else Result(**row["baseline"]),
                unsupported=row["unsupported"],
                bandwidth=row.get("bandwidth"),
                units=row.get("units", {}),
            )
            for row in data["rows"]
        ]
        return cls(**data)

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Read a file that :meth:`save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from self._head()
        yield ""
        yield from aligned(self._table())
        if notes := [*self._legend(), *self._notes()]:
            yield from ("", *itertools.chain.from_iterable(map(folded, notes)))

    def _head(self) -> Iterator[str]:
        yield f"regard {self.contenders[OWN]}, {self.isa}, {threads_text(self.threads)}"
        yield from folded(f"machine: {self.machine['cpu']}, {self.machine['cores']} cores")
        ceilings = ", ".join(f"{dtype} {gf:.0f} GFLOP/s" for dtype, gf in self.ceilings().items())
        yield from folded(f"ceiling (FMA in registers): {ceilings}")
        if (bandwidth := self.bandwidth()) is not None:
            yield f"ceiling of decode (memory reads): {bandwidth:.1f} GB/s"

    def _table(self) -> list[list[str]]:
        rows = [["case", "time", "rate", "ceiling", "error", "ratio"]]
        for row in self.rows:
            *cells, error = row.cells()
            short = f"{row.units[OWN]:.2f} u" if OWN in row.units else error
            rows.append([*cells, short, row.baseline_text()])
        return rows

    def _legend(self) -> Iterator[str]:
        """Say what the short words of the table stand for."""
        if any(OWN in row.units for row in self.rows):
            yield "u: units of the output's precision, relative to the largest value"
        ways: dict[str, list[str]] = {}
        for row in self.rows:
            if row.baseline is not None:
                ways.setdefault(row.baseline.way, []).append(row.case.name)
        for way, names in ways.items():
            yield f'ratio to the time "{way}": {", ".join(names)}'

    def _notes(self) -> Iterator[str]:
        if disturbed := self.disturbed():
            cases = ", ".join(row.case.name for row in disturbed)
            yield f"?: above 100 %, so the ceiling was disturbed: {cases}"
        if starved := self.starved():
            cases = ", ".join(row.case.name for row in starved)
            yield f"something else was running, do not trust: {cases}"
        for row in self.wrong():
            yield f"WRONG RESULT: {row.case.name}: error {row.own.error}"
