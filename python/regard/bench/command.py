"""``regard bench``: options, run, and where the results go."""

from __future__ import annotations

import argparse
import sys

from regard.bench import runner
from regard.bench.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``regard bench``."""
    parser.add_argument("--isa", help="instruction set to measure (default: the active one)")
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="threads (default: one a core)"
    )
    parser.add_argument(
        "--cases", metavar="PATTERN", help="only cases whose name or group matches, as 'causal*'"
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases, short measurements")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="time for one call on one case (default: 1)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the random inputs")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON")


def main(args: argparse.Namespace) -> int:
    """Run ``regard bench``.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed from what :func:`add_arguments` declared.

    Returns
    -------
    int
        0; 1 when a result of regard's own is wrong; 2 when the options make no sense.
    """
    try:
        report = runner.run(chosen(args))
    except ValueError as error:
        print(f"regard bench: {error}", file=sys.stderr)
        return 2
    return conclude(report, args)


def chosen(args: argparse.Namespace) -> runner.Options:
    """Return what the parsed arguments ask for."""
    return runner.Options(
        isa=args.isa,
        threads=args.threads,
        pattern=args.cases,
        quick=args.quick,
        seconds=args.seconds,
        seed=args.seed,
    )


def conclude(report: Report, args: argparse.Namespace) -> int:
    """Print and save a report; return the exit status that it deserves."""
    print(report)
    if args.json:
        report.save(args.json)
        print(f"\nwritten: {args.json}")
    return 1 if report.wrong() else 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
