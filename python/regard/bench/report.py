"""What a run of the benchmark found: plain data, its JSON and its text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from regard.bench import accuracy, storage, targets
from regard.bench.cases import Case
from regard.bench.text import aligned, threads_text, time_text

SCHEMA = 1
KIND = "bench"
OWN = "regard"


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
    """One case: everybody's results, and the ceiling measured while they were.

    `ceiling` is in GFLOP/s; `bandwidth`, in GB/s, is that of reading as many bytes as a case that
    is bound by memory has to; `units` gives errors in units of an output of 16 bits; `baseline` is
    what masks, windows and the smallest call are compared with, and its `way` says what that is;
    `unsupported` maps a rival to its reason.
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

    def trusted(self, name: str) -> bool:
        """Whether a contender's error is one that the case's dtype explains."""
        error = self.results[name].error
        return error is not None and accuracy.acceptable(self.case, error, name == OWN)

    def best_rival(self) -> str | None:
        """Name the fastest rival whose result can be trusted."""
        names = [name for name in self.results if name != OWN and self.trusted(name)]
        return min(names, key=lambda name: self.results[name].seconds, default=None)

    def ratio(self, name: str) -> float:
        """Divide a rival's time by regard's: above one, regard is faster."""
        return self.results[name].seconds / self.own.seconds

    def times_plain(self) -> float | None:
        """Divide an option's time by that of the same call without it; None in other rows."""
        if not self.case.group.endswith("options") or self.baseline is None:
            return None
        return self.own.seconds / self.baseline.seconds

    def verdict(self, isa: str) -> targets.Verdict | None:
        """Judge the result by the case's target, where it has one."""
        if self.case.bound_by_memory and self.bandwidth is None:
            return None
        baseline = None if self.baseline is None else self.baseline.seconds
        return targets.judge(self.case, isa, self.own.seconds, baseline, self.percent())


@dataclass(frozen=True)
class Report:
    """A whole run.

    `contenders` maps each to its version, `missing` each rival that was asked for and could not
    be had to the reason, `settings` tells how it was measured.
    """

    date: str
    isa: str
    threads: int
    machine: dict[str, Any]
    contenders: dict[str, str]
    missing: dict[str, str]
    settings: dict[str, Any]
    rows: list[Row]

    @property
    def rivals(self) -> list[str]:
        """Names of the rivals that took part."""
        return [name for name in self.contenders if name != OWN]

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
    def from_json(cls, text: str) -> Report:
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
            Row(
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
    def load(cls, path: str | Path) -> Report:
        """Read a file that :meth:`save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"regard {self.contenders[OWN]}, {self.isa}, {threads_text(self.threads)}"
        yield f"machine: {self.machine['cpu']}, {self.machine['cores']} cores"
        ceilings = ", ".join(f"{dtype} {gf:.0f} GFLOP/s" for dtype, gf in self.ceilings().items())
        yield f"ceiling (FMA in registers): {ceilings}"
        if (bandwidth := self.bandwidth()) is not None:
            yield f"ceiling of decode (memory reads): {bandwidth:.1f} GB/s"
        if self.rivals:
            versions = (f"{name} {self.contenders[name]}" for name in self.rivals)
            yield f"rivals: {', '.join(versions)}"
            yield "their columns: time over regard's, so above 1 regard is faster"
        for name, reason in self.missing.items():
            yield f"missing: {name}: {reason}"
        yield ""
        head = ["case", "time", "rate", "ceiling", "error", *self.rivals, "target"]
        yield from aligned([head, *(self._cells(row) for row in self.rows)])
        yield ""
        verdicts = [v for row in self.rows if (v := row.verdict(self.isa)) is not None]
        if verdicts:
            yield f"targets met: {sum(v.met for v in verdicts)} of {len(verdicts)}"
        if disturbed := self.disturbed():
            cases = ", ".join(row.case.title for row in disturbed)
            yield f"?: above 100 %, so the ceiling was disturbed: {cases}"
        if any(not row.trusted(name) for row in self.rows for name in row.results):
            yield "! after a number: the result is less exact than its dtype allows"
        if starved := self.starved():
            cases = ", ".join(row.case.title for row in starved)
            yield f"something else was running, do not trust: {cases}"
        for row in self.wrong():
            yield f"WRONG RESULT: {row.case.title}: error {row.own.error}"

    def _cells(self, row: Row) -> list[str]:
        verdict = row.verdict(self.isa)
        factor = row.times_plain()
        plain = "" if factor is None else f"{factor:.2f}x plain"
        if verdict is None:
            target = plain
        elif verdict.met:
            target = f"met: {verdict.reached}"
        else:
            target = f"missed {verdict.missed}: {verdict.reached}"
        if verdict is not None and plain:
            share = {"blocks": f" for its density, {plain}", "window": f" a pair, {plain}"}
            target += share.get(row.case.option or "window" * bool(row.case.window), " plain")
        return [
            row.case.title,
            time_text(row.own.seconds),
            row.rate_text() if row.case.group != "call" else "",
            row.percent_text() if row.case.group != "call" else "",
            row.error_text(),
            *(self._rival_cell(row, name) for name in self.rivals),
            target,
        ]

    def _rival_cell(self, row: Row, name: str) -> str:
        if name not in row.results:
            return "-"
        return f"{row.ratio(name):.2f}" + ("" if row.trusted(name) else "!")
