"""The benchmark itself: for each case draw inputs, check the results, time them in turn."""

from __future__ import annotations

import contextlib
import datetime
import difflib
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np

import regard
from regard import _core
from regard._tqdm import progress
from regard.bench import accuracy, backward, machine, storage
from regard.bench.case import Case
from regard.bench.cases import CASES
from regard.bench.inputs import Inputs, make_inputs, options_of, widened
from regard.bench.report import OWN, Report, Result, Row
from regard.bench.timing import Call, Effort, Timing, interleave, settle

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
    pattern : str, optional
        Only cases whose name, group or title matches (``*`` and ``?`` as in file names; capitals
        do not matter).
    quick : bool
        Short measurements, and only the cases that show the most where `pattern` chooses none.
    seconds : float, optional
        Time for one contender on one case; by default 1, or 0.2 when quick.
    seed : int, optional
        Seed of the inputs; by default a fresh one, which the report records.
    """

    isa: str | None = None
    threads: int | None = None
    pattern: str | None = None
    quick: bool = False
    seconds: float | None = None
    seed: int | None = None

    def effort(self) -> Effort:
        """How long to measure each contender."""
        seconds = (0.2 if self.quick else 1.0) if self.seconds is None else self.seconds
        return Effort(seconds, rounds=2 if self.quick else 4)


@dataclass(frozen=True)
class Contender:
    """A call to measure beside regard's, the error of its result, and the way it goes about it."""

    call: Call
    error: float
    way: str = ""


# Prepares the contenders of a case by name, given regard's own error, and says why others cannot
# compute it.
Others = Callable[[Case, Inputs, float], tuple[dict[str, Contender], dict[str, str]]]


def run(options: Options, cases: tuple[Case, ...] = CASES, others: Others | None = None) -> Report:
    """Measure.

    Parameters
    ----------
    options : Options
    cases : tuple of Case, optional
        What to choose from; by default all of them.
    others : callable, optional
        Prepares what else is measured on a case, in turn with regard; by default nothing.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        When an ISA has an unknown name, or no case matches the pattern.
    """
    chosen = select(cases, options)
    threads = options.threads or machine.usable_cores()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    effort = options.effort()
    isa_choice: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if options.isa is not None:
        isa_choice = regard.set_isa(options.isa)
    with isa_choice:
        isa = regard.active_isa()
        rows = [
            measure(case, np.random.default_rng([seed, index]), isa, threads, effort, others)
            for index, case in enumerate(progress(chosen, "regard bench"))
        ]
        described = machine.describe()
    return Report(
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        isa=isa,
        threads=threads,
        machine=described,
        contenders={OWN: regard.__version__},
        missing={},
        settings={**asdict(effort), "seed": seed, "quick": options.quick},
        rows=rows,
    )


def select(cases: tuple[Case, ...], options: Options) -> list[Case]:
    """Choose the cases that the options ask for."""
    if options.pattern is None:
        return [case for case in cases if case.quick or not options.quick]
    pattern = options.pattern.lower()
    words = {case: [w.lower() for w in (case.name, case.group, case.title)] for case in cases}
    chosen = [c for c, of_case in words.items() if any(fnmatchcase(w, pattern) for w in of_case)]
    if not chosen:
        known = dict.fromkeys(word for of_case in words.values() for word in of_case)
        near = ", ".join(map(repr, difflib.get_close_matches(pattern, known)))
        raise ValueError(
            f"no case matches {options.pattern!r}.\n  "
            + (f"Near to it: {near}. " if near else "")
            + "--list shows all."
        )
    return chosen


def measure(
    case: Case,
    rng: np.random.Generator,
    isa: str,
    threads: int,
    effort: Effort,
    others: Others | None = None,
) -> Row:
    """Check and time regard, and other contenders, on one case."""
    inputs = make_inputs(case, rng)
    own = own_call(case, inputs, threads)
    contenders: dict[str, Call] = {OWN: own}
    errors = {OWN: accuracy.largest_error(case, inputs, own())}
    ways: dict[str, str] = {}
    unsupported: dict[str, str] = {}
    if others is not None:
        more, unsupported = others(case, inputs, errors[OWN])
        for name, other in more.items():
            contenders[name], errors[name], ways[name] = other.call, other.error, other.way

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
        converted = [storage.store(array, larger)[0] for array in widened(case, inputs)]
        options = {"causal": case.causal, "num_threads": threads}
        return f"in {larger}", partial(regard.attention, *converted, **options)
    if case.group == "backward-options":
        words = {"causal": case.causal, "num_threads": threads}
        return "plain", partial(backward.step, inputs, words)
    if case.group == "options":
        plain = partial(regard.attention, *arrays, causal=case.causal, num_threads=threads)
        return "plain", plain
    return None


def _result(timing: Timing, error: float | None, way: str) -> Result:
    return Result(timing.median, timing.low, timing.high, timing.samples, timing.cores, error, way)
