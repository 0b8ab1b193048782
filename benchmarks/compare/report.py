"""What a comparison found: the data of a run of regard's own, beside rivals and targets.

The files are those of `regard bench --json`, with more contenders in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.compare import targets
from regard.bench import report
from regard.bench.report import OWN, Result

__all__ = ["OWN", "Report", "Result", "Row"]


@dataclass(frozen=True)
class Row(report.Row):
    """One case: everybody's results, and the ceiling measured while they were taken."""

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

    def verdict(self, setting: targets.Setting) -> targets.Verdict | None:
        """Judge the result by the case's target, where it has one."""
        if self.case.bound_by_memory and self.bandwidth is None:
            return None
        baseline = None if self.baseline is None else self.baseline.seconds
        return targets.judge(self.case, setting, self.own.seconds, baseline, self.percent())

    def rival_cell(self, name: str) -> str:
        """Write a rival's time over regard's.

        A "!" says that its result is not exact, a "~" that it is another computation.
        """
        if name not in self.results:
            return "-"
        mark = "~" * self.another_computation(name) if self.trusted(name) else "!"
        return f"{self.ratio(name):.2f}{mark}"

    def target_cell(self, setting: targets.Setting) -> str:
        """Write whether the target was met, and what an option costs."""
        verdict = self.verdict(setting)
        factor = self.times_plain()
        plain = "" if factor is None else f"{factor:.2f}x plain"
        if verdict is None:
            return plain
        if verdict.met:
            target = f"met: {verdict.reached}"
        else:
            target = f"missed {verdict.missed}: {verdict.reached}"
        if plain:
            share = {"blocks": f" for its density, {plain}", "window": f" a pair, {plain}"}
            target += share.get(self.case.option or "window" * bool(self.case.window), " plain")
        return target


@dataclass(frozen=True)
class Report(report.Report):
    """A whole run, of regard and of rivals."""

    rows: Sequence[Row]

    row_type: ClassVar[type[report.Row]] = Row

    @property
    def rivals(self) -> list[str]:
        """Names of the rivals that took part."""
        return [name for name in self.contenders if name != OWN]

    @property
    def setting(self) -> targets.Setting:
        """What targets depend on."""
        caches = self.machine["caches"]
        last = caches.get("L3") or caches.get("L2") or "0K"
        return targets.Setting(self.isa, self.threads, int(last.removesuffix("K")) * 1024)

    def _head(self) -> Iterator[str]:
        yield from super()._head()
        if self.rivals:
            versions = (f"{name} {self.contenders[name]}" for name in self.rivals)
            yield f"rivals: {', '.join(versions)}"
            yield "their columns: time over regard's, so above 1 regard is faster"
        for name, reason in self.missing.items():
            yield f"missing: {name}: {reason}"

    def _table(self) -> list[list[str]]:
        names = self.rivals
        head = ["case", "time", "rate", "ceiling", "error", *names, "target"]
        return [
            head,
            *(
                [*row.cells(), *map(row.rival_cell, names), row.target_cell(self.setting)]
                for row in self.rows
            ),
        ]

    def _legend(self) -> Iterator[str]:
        yield from ()  # the table spells everything out

    def _notes(self) -> Iterator[str]:
        verdicts = [v for row in self.rows if (v := row.verdict(self.setting)) is not None]
        if verdicts:
            yield f"targets met: {sum(v.met for v in verdicts)} of {len(verdicts)}"
        if any(not row.trusted(name) for row in self.rows for name in row.results):
            yield "! after a number: the result is less exact than its dtype allows"
        if any(
            row.trusted(name) and row.another_computation(name)
            for row in self.rows
            for name in row.results
        ):
            yield "~ after a number: its error is over 4 times regard's, another computation"
        yield from super()._notes()
