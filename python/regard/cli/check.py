"""``regard check``: every ISA of this machine against the oracle, on random problems."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import numpy as np

import regard
from regard._arguments import isa_name, whole
from regard._tqdm import progress
from regard.bench.text import aligned
from regard.cli.budget import magnitude
from regard.cli.problems import Array, Problem, draw
from regard.cli.storage import EPS, name_of
from regard.reference import stored

# Of each ISA; the first failures tell most of what there is to tell.
SHOWN, LISTED = 3, 15


@dataclass
class Tally:
    """What one ISA has done so far."""

    problems: int = 0
    seconds: float = 0.0
    largest: dict[str, float] = field(default_factory=dict)  # error by dtype
    share: float = 0.0  # largest error as a part of its bound
    failures: list[tuple[int, str]] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``regard check``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--count", type=whole(1), default=300, metavar="N", help="random problems (default 300)"
    )
    which.add_argument("--problem", type=whole(0), metavar="N", help="only problem N of the series")
    parser.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="which series of problems (default 0)"
    )
    parser.add_argument(
        "--isa",
        type=isa_name,
        action="append",
        metavar="NAME",
        help="only this one; may be repeated",
    )


def main(args: argparse.Namespace) -> int:
    """Run ``regard check``.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed from what :func:`add_arguments` declared.

    Returns
    -------
    int
        0; 1 when a result is wrong.
    """
    isas = list(dict.fromkeys(args.isa or regard.available_isas()))
    indices = range(args.count) if args.problem is None else [args.problem]
    many = f"{len(indices)} random problem" + "s" * (len(indices) != 1)
    what = many if args.problem is None else f"problem {args.problem}"
    print(f"{what} of seed {args.seed} on each ISA, against the float64 oracle\n")

    tallies = {isa: Tally() for isa in isas}
    for index in progress(indices, "regard check"):
        problem = draw(args.seed, index)
        for isa, tally in tallies.items():
            with regard.set_isa(isa):
                run(problem, index, tally)
    print_summary(tallies)
    for isa, tally in tallies.items():
        print_failures(isa, tally, args.seed)
    if any(tally.failures for tally in tallies.values()):
        return 1
    print("\nEvery result is within its error bound.")
    return 0


def run(problem: Problem, index: int, tally: Tally) -> None:
    """Compute one problem by the active ISA and add the outcome to its tally."""
    start = time.perf_counter()
    try:
        output, lse = problem.run()
    except Exception as raised:
        # The problem is a legal one: whatever is raised is a finding, and no reason to stop.
        fault: str | None = f"raised {type(raised).__name__}: {raised}"
    else:
        tally.seconds += time.perf_counter() - start
        fault = wrong(problem, output, lse)
        if fault is None:
            name, error = name_of(problem.query), distance(stored(output), problem.expected[0])
            tally.largest[name] = max(tally.largest.get(name, 0.0), error)
            tally.share = max(tally.share, error / (problem.bounds[0] or 1.0))
    tally.problems += 1
    if fault is not None:
        tally.failures.append((index, f"{fault}\n{problem}"))


def wrong(problem: Problem, output: Array, lse: Array) -> str | None:
    """Say what is wrong with a result, or None."""
    # An LSE is of the type that is computed in.
    lse_type = "float64" if problem.query.dtype == np.float64 else "float32"
    expected_output, expected_lse = problem.expected
    bound, lse_bound = problem.bounds
    # An LSE has the size of the scores, and is rounded itself.
    largest_lse = float(magnitude(expected_lse).max(initial=0))
    lse_bound += 2 * EPS[lse_type] * largest_lse
    for name, got, expected, dtype, limit in (
        ("output", output, expected_output, name_of(problem.query), bound),
        ("LSE", lse, expected_lse, lse_type, lse_bound),
    ):
        if got.shape != expected.shape or name_of(got) != dtype:
            return f"{name} is {name_of(got)} {got.shape}, not {dtype} {expected.shape}"
        error = distance(stored(got), expected)
        if not error <= limit:
            return f"{name} is off by {error:.2g}, the bound is {limit:.2g}"
    return None


def distance(got: Array, expected: Array) -> float:
    """Largest absolute difference; equal infinities are 0 apart, NaN from anything NaN."""
    with np.errstate(invalid="ignore"):
        difference = np.where(got == expected, 0, np.abs(got - expected))
    return float(difference.max(initial=0))


def print_summary(tallies: dict[str, Tally]) -> None:
    """Print one line for each ISA."""
    rows = [["ISA", "tried", "wrong", *EPS, "of bound", "time"]]
    for isa, tally in tallies.items():
        largest = (tally.largest.get(name) for name in EPS)
        errors = ["-" if error is None else f"{error:.1e}" for error in largest]
        counts = [str(tally.problems), str(len(tally.failures))]
        rows.append([isa, *counts, *errors, f"{tally.share:.0%}", f"{tally.seconds:.1f} s"])
    print("\n".join(aligned(rows)))
    print("\nOf each type: the largest error. Of bound: the largest error over its bound.")


def print_failures(isa: str, tally: Tally, seed: int) -> None:
    """Print the first failures of an ISA, and how to repeat them."""
    for index, description in tally.failures[:SHOWN]:
        print(f"\nWRONG: problem {index} on {isa}: " + description.replace("\n", "\n  "))
        print(f"  Repeat it: python -m regard check --isa {isa} --seed {seed} --problem {index}")
    others = [str(index) for index, _ in tally.failures[SHOWN:]]
    if others:
        more = ", ..." if len(others) > LISTED else ""
        print(f"\nAlso wrong on {isa}: problems {', '.join(others[:LISTED])}{more}")
