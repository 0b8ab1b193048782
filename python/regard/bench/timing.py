"""Fair timing of several contenders in one process.

Thread pools do not stop when a call returns: OpenBLAS (NumPy), OpenMP and the pools of the
other libraries spin for a while, waiting for more work, and so steal the cores of whoever is
timed next. Interleaving call by call, A B A B, would therefore measure the neighbours. Here the
contenders alternate by *block* of calls, several rounds of them, and before each block the
process waits until its own threads have gone quiet.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any

Call = Callable[[], Any]

# One sample lasts at least this long: a hundred times what reading the clock can be off by.
SHORTEST_SAMPLE = 200e-6
# More samples than this no longer move a median.
MOST_SAMPLES = 300
# Waking sleeping threads and refilling caches takes tens of microseconds; calls longer than
# this do not notice.
REWARM_BELOW = 20e-3


@dataclass(frozen=True)
class Timing:
    """What was measured of one contender, in seconds a call.

    `low` and `high` are the quartiles, `samples` how many were taken, `cores` the CPU time per
    elapsed time of the whole process: it tells whether the asked number of threads was used.
    """

    median: float
    low: float
    high: float
    samples: int
    cores: float


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Parameters
    ----------
    seconds : float
        Time for one contender on one case, roughly; slow calls take what `minimum` needs.
    rounds : int
        Into how many blocks, taken in turn, a contender's samples are split.
    minimum : int
        Least number of samples.
    """

    seconds: float = 1.0
    rounds: int = 3
    minimum: int = 7


def settle(limit: float = 0.5, step: float = 0.004) -> None:
    """Sleep until no thread of this process is busy, `limit` seconds at most."""
    deadline = time.perf_counter() + limit
    quiet = 0
    while quiet < 2 and time.perf_counter() < deadline:
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(step)
        busy = (time.process_time() - cpu) / (time.perf_counter() - wall)
        quiet = quiet + 1 if busy < 0.1 else 0


def once(call: Call) -> float:
    """Seconds of a single call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleave(
    contenders: Mapping[str, Call],
    effort: Effort,
    between: Call | None = None,
) -> dict[str, Timing]:
    """Time contenders against each other, block by block.

    Parameters
    ----------
    contenders : mapping of str to callable
        Calls without arguments; results are ignored.
    effort : Effort
    between : callable, optional
        Called once a round while everything is quiet; the place to measure the ceiling.

    Returns
    -------
    dict of str to Timing
        One for each contender, in the order given.
    """
    plans: dict[str, _Plan] = {}
    for name, call in contenders.items():
        settle()
        # Two warm-ups; the second one tells how long a call takes.
        call()
        plans[name] = _plan(once(call), effort)

    samples: dict[str, list[float]] = {name: [] for name in contenders}
    wall = dict.fromkeys(contenders, 0.0)
    cpu = dict.fromkeys(contenders, 0.0)
    for turn in range(effort.rounds):
        if between is not None:
            settle()
            between()
        for name, call in contenders.items():
            plan = plans[name]
            settle()
            if plan.rewarm:
                _loop(call, plan.inner)
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            samples[name] += [_loop(call, plan.inner) for _ in range(plan.blocks[turn])]
            wall[name] += time.perf_counter() - wall_start
            cpu[name] += time.process_time() - cpu_start

    return {
        name: _summary(samples[name], cpu[name] / wall[name] if wall[name] else 0.0)
        for name in contenders
    }


@dataclass(frozen=True)
class _Plan:
    """Samples in each block, calls in a sample, whether to warm up again before a block."""

    blocks: list[int]
    inner: int
    rewarm: bool


def _plan(seconds: float, effort: Effort) -> _Plan:
    inner = max(1, math.ceil(SHORTEST_SAMPLE / max(seconds, 1e-9)))
    wanted = max(effort.minimum, int(effort.seconds / (seconds * inner + 1e-9)))
    count = min(wanted, MOST_SAMPLES)
    ends = [count * turn // effort.rounds for turn in range(effort.rounds + 1)]
    blocks = [last - first for first, last in pairwise(ends)]
    return _Plan(blocks, inner, seconds < REWARM_BELOW)


def _loop(call: Call, inner: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, inner):
        call()
    return (time.perf_counter() - start) / inner


def _summary(samples: list[float], cores: float) -> Timing:
    low, _, high = statistics.quantiles(samples, n=4)
    return Timing(statistics.median(samples), low, high, len(samples), cores)
