"""The benchmark itself: for each case draw inputs, check every contender, time them in turn."""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

import regard
from regard import _core
from regard._progress import progress
from regard.bench import accuracy, backward, machine, storage
from regard.bench.cases import CASES, Case, Inputs, make_inputs, options_of
from regard.bench.report import OWN, Report, Result, Row
from regard.bench.rivals import RIVALS, Prepared, Rival, Unsupported
from regard.bench.timing import Call, Effort, Timing, interleave, once, settle

# A ceiling that a contender exceeds was disturbed: it is measured again as often as this.
CEILING_RETRIES = 8


@dataclass(frozen=True)
class Options:
    """What to measure, and how.

    Parameters
    ----------
    isa : str, optional
        Instruction set to use; by default the active one.
    threads : int, optional
        Threads of every contender; by default as many as there are cores.
    rivals : tuple of str
        Names out of :data:`regard.bench.rivals.RIVALS`.
    pattern : str, optional
        Only cases whose name or group matches (``*`` and ``?`` as in file names).
    quick : bool
        Only the cases that show the most, and short measurements.
    seconds : float, optional
        Time for one contender on one case; by default 1, or 0.2 when quick.
    seed : int, optional
        Seed of the inputs; by default a fresh one, which the report records.
    """

    isa: str | None = None
    threads: int | None = None
    rivals: tuple[str, ...] = ()
    pattern: str | None = None
    quick: bool = False
    seconds: float | None = None
    seed: int | None = None

    def effort(self) -> Effort:
        """How long to measure each contender."""
        seconds = (0.2 if self.quick else 1.0) if self.seconds is None else self.seconds
        return Effort(seconds, rounds=2 if self.quick else 4)


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
    chosen = select(cases, options)
    threads = options.threads or machine.usable_cores()
    rivals, missing = start_rivals(options.rivals, threads)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    effort = options.effort()
    isa_choice: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if options.isa is not None:
        isa_choice = regard.set_isa(options.isa)
    with isa_choice:
        isa = regard.active_isa()
        rows = [
            measure(case, np.random.default_rng([seed, index]), isa, threads, rivals, effort)
            for index, case in enumerate(progress(chosen, label="regard bench"))
        ]
        described = machine.describe()
    return Report(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        isa=isa,
        threads=threads,
        machine=described,
        contenders={OWN: regard.__version__, **{r.name: r.version() for r in rivals}},
        missing=missing,
        settings={**asdict(effort), "seed": seed, "quick": options.quick},
        rows=rows,
    )


def select(cases: tuple[Case, ...], options: Options) -> list[Case]:
    """Choose the cases that the options ask for."""
    chosen = [case for case in cases if case.quick or not options.quick]
    if options.pattern is not None:
        chosen = [
            case
            for case in chosen
            if any(fnmatch.fnmatch(word, options.pattern) for word in (case.name, case.group))
        ]
    if not chosen:
        names = ", ".join(case.name for case in cases)
        raise ValueError(f"no case matches {options.pattern!r}; there are {names}")
    return chosen


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


def measure(
    case: Case,
    rng: np.random.Generator,
    isa: str,
    threads: int,
    rivals: list[Rival],
    effort: Effort,
) -> Row:
    """Check and time every contender on one case."""
    inputs = make_inputs(case, rng)
    own = own_call(case, inputs, threads)
    contenders: dict[str, Call] = {OWN: own}
    errors = {OWN: accuracy.largest_error(case, inputs, own())}
    ways: dict[str, str] = {}
    unsupported: dict[str, str] = {}
    for rival in rivals:
        try:
            best, error = choose(case, inputs, rival)
        except Unsupported as reason:
            unsupported[rival.name] = str(reason)
            continue
        contenders[rival.name] = best.call
        errors[rival.name], ways[rival.name] = error, best.way

    compared = baseline_call(case, inputs, threads)
    if compared is not None:
        contenders[compared[0]] = compared[1]
    ceilings: list[float] = []
    bandwidths: list[float] = []

    def sample_ceiling() -> None:
        ceilings.append(_core.ceiling(isa, storage.held_to(case.dtype, isa), threads))
        if case.bound_by_memory:
            bandwidths.append(_core.read_bandwidth(case.bytes, threads))

    timings = interleave(contenders, effort, between=sample_ceiling)
    baseline = None
    if compared is not None:
        label = compared[0]
        baseline = _result(timings.pop(label), None, label)
    units = {n: accuracy.in_units(case, inputs, error) for n, error in errors.items()}

    def row() -> Row:
        return Row(
            case=case,
            # Whatever disturbs a sample lowers it; the ceiling is what the machine can do.
            ceiling=max(ceilings),
            results={n: _result(t, errors[n], ways.get(n, "")) for n, t in timings.items()},
            baseline=baseline,
            unsupported=unsupported,
            bandwidth=max(bandwidths, default=None),
            units={n: u for n, u in units.items() if u is not None},
        )

    for _ in range(CEILING_RETRIES):
        if not row().disturbed:
            break
        settle()
        sample_ceiling()
    return row()


def own_call(case: Case, inputs: Inputs, threads: int) -> Callable[[], Any]:
    """Make regard's call for a case; a `partial`, which adds no Python frame to what is timed."""
    options = options_of(case, inputs)
    if case.group != "call":
        # The smallest call is measured as it is written: no option at all.
        options["num_threads"] = threads
    if case.backward:
        return partial(backward.step, inputs, options, backward.wanted(case, inputs))
    if case.option == "summary":
        return partial(regard.attention_summary, inputs.query, inputs.key, **options)
    return partial(regard.attention, inputs.query, inputs.key, inputs.value, **options)


def baseline_call(case: Case, inputs: Inputs, threads: int) -> tuple[str, Call] | None:
    """Name and make what a case is compared with: itself without the option it is there for."""
    arrays = (inputs.query, inputs.key, inputs.value)
    if case.group == "call":
        return "empty call", partial(_core.noop, *arrays)
    if case.group == "mask":
        plain = partial(regard.attention, *arrays, num_threads=threads)
        return "without mask or bias", plain
    if case.group == "window":
        plain = partial(regard.attention, *arrays, causal=True, num_threads=threads)
        return "without window", plain
    if case.group in ("storage", "decode") and case.stored != "float32":
        larger = storage.LARGER[case.stored] if case.group == "decode" else "float32"
        converted = [storage.store(array, larger)[0] for array in storage.widened(case, inputs)]
        options = {"causal": case.causal, "num_threads": threads}
        return f"in {larger}", partial(regard.attention, *converted, **options)
    if case.group == "backward-options":
        words = {"causal": case.causal, "num_threads": threads}
        return "plain", partial(backward.step, inputs, words)
    if case.group == "options":
        plain = partial(regard.attention, *arrays, causal=case.causal, num_threads=threads)
        return "plain", plain
    return None


def choose(case: Case, inputs: Inputs, rival: Rival) -> tuple[Prepared, float]:
    """Choose a rival's fastest way whose result is right, else the least wrong; also its error."""
    checked = [
        (prepared, accuracy.largest_error(case, inputs, result))
        for prepared, result in rival.prepare(case, inputs)
    ]
    right = [pair for pair in checked if accuracy.acceptable(case, pair[1], own=False)]
    if not right:
        return min(checked, key=lambda pair: pair[1] if pair[1] == pair[1] else float("inf"))
    if len(right) == 1:
        return right[0]
    return min(right, key=lambda pair: _trial(pair[0].call))


def _trial(call: Call) -> float:
    settle()
    first = once(call)  # not the first call: the result was checked before
    return first if first > 0.1 else min(first, once(call), once(call))


def _result(timing: Timing, error: float | None, way: str) -> Result:
    return Result(timing.median, timing.low, timing.high, timing.samples, timing.cores, error, way)
