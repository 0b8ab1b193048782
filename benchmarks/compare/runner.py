"""A run of the benchmark with rivals: each is checked, and timed in turn with regard."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.compare.report import Report, Row
from benchmarks.compare.rivals import RIVALS, Prepared, Rival, Unsupported
from regard.bench import accuracy, machine, runner
from regard.bench.case import Case
from regard.bench.cases import CASES
from regard.bench.inputs import Inputs
from regard.bench.runner import Contender
from regard.bench.timing import Call, once, settle


@dataclass(frozen=True)
class Options(runner.Options):
    """What to measure, and how.

    Parameters
    ----------
    rivals : tuple of str
        Names out of :data:`benchmarks.compare.rivals.RIVALS`.
    **more
        As in :class:`regard.bench.Options`.
    """

    rivals: tuple[str, ...] = ()


def run(options: Options, cases: tuple[Case, ...] = CASES) -> Report:
    """Measure.

    Parameters
    ----------
    options : Options
    cases : tuple of Case, optional
        What to choose from; by default all of them.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        When an ISA or a rival has an unknown name, or no case matches the pattern.
    """
    runner.select(cases, options)  # an error of its own before any library is loaded
    threads = options.threads or machine.usable_cores()
    rivals, missing = start_rivals(options.rivals, threads)
    measured = runner.run(options, cases, partial(prepare, rivals))
    versions = {rival.name: rival.version() for rival in rivals}
    found = {
        "contenders": {**measured.contenders, **versions},
        "missing": missing,
        "rows": [Row(**vars(row)) for row in measured.rows],
    }
    return Report(**{**vars(measured), **found})


def start_rivals(names: tuple[str, ...], threads: int) -> tuple[list[Rival], dict[str, str]]:
    """Start the rivals that are installed; say why the others are missing."""
    for name in names:
        if name not in RIVALS:
            raise ValueError(f"unknown rival {name!r}; there are {', '.join(RIVALS)}")
    started: list[Rival] = []
    missing: dict[str, str] = {}
    for name in names:
        kind = RIVALS[name]
        if not kind.available():
            missing[name] = f"not installed (pip install {' '.join(kind.packages)})"
            continue
        try:
            started.append(kind(threads))
        except Exception as error:
            missing[name] = f"does not start: {error}"
    return started, missing


def prepare(
    rivals: list[Rival], case: Case, inputs: Inputs, own_error: float
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Choose each rival's way of computing a case; say why others have none."""
    found: dict[str, Contender] = {}
    unsupported: dict[str, str] = {}
    for rival in rivals:
        try:
            best, error = choose(case, inputs, rival, own_error)
        except Unsupported as reason:
            unsupported[rival.name] = str(reason)
        else:
            found[rival.name] = Contender(best.call, error, best.way)
    return found, unsupported


def choose(case: Case, inputs: Inputs, rival: Rival, own_error: float) -> tuple[Prepared, float]:
    """Choose a rival's fastest way whose result is right, else the least wrong; also its error.

    One that computes the same as regard is preferred to one that is less exact.
    """
    checked = [
        (prepared, accuracy.largest_error(case, inputs, result))
        for prepared, result in rival.prepare(case, inputs)
    ]
    right = [pair for pair in checked if accuracy.acceptable(case, pair[1], own=False)]
    if not right:
        return min(checked, key=lambda pair: pair[1] if pair[1] == pair[1] else float("inf"))
    same = [pair for pair in right if not accuracy.another_computation(case, pair[1], own_error)]
    right = same or right
    if len(right) == 1:
        return right[0]
    return min(right, key=lambda pair: _trial(pair[0].call))


def _trial(call: Call) -> float:
    settle()
    first = once(call)  # not the first call: the result was checked before
    return first if first > 0.1 else min(first, once(call), once(call))
