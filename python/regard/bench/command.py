"""``regard bench``: options, run, and where the results go."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

from regard._arguments import isa_name, output_file, seconds, whole
from regard.bench import runner
from regard.bench.case import Case
from regard.bench.cases import CASES
from regard.bench.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``regard bench``."""
    parser.add_argument(
        "--isa",
        type=isa_name,
        metavar="NAME",
        help="instruction set to measure (default: the active one)",
    )
    parser.add_argument(
        "--threads", type=whole(1), metavar="N", help="threads (default: one a core)"
    )
    parser.add_argument(
        "--cases",
        metavar="PATTERN",
        help="only cases whose name, group or shape matches, as 'causal*'",
    )
    parser.add_argument("--list", action="store_true", help="show the cases, and measure nothing")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="short measurements, and fewer cases where --cases chooses none",
    )
    parser.add_argument(
        "--seconds", type=seconds, metavar="S", help="time for one call on one case (default: 1)"
    )
    parser.add_argument("--seed", type=whole(0), metavar="N", help="seed of the random inputs")
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the results as JSON"
    )


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
    options = chosen(args)
    try:
        if args.list:
            print(listing(runner.select(CASES, options)))
            return 0
        report = runner.run(options)
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


def listing(cases: Sequence[Case]) -> str:
    """Write the names of cases, group by group, and what each is.

    Parameters
    ----------
    cases : sequence of Case

    Returns
    -------
    str
    """
    width = max(len(case.name) for case in cases)
    lines: list[str] = []
    for group, members in itertools.groupby(cases, key=lambda case: case.group):
        lines.append(group)
        for case in members:
            lines.append(f"{'*' if case.quick else ' ':>3} {case.name:{width}}  {case.title}")
    lines += ["", "(batch)x(heads)x(length)x(head_dim), heads/kv heads, queries:keys"]
    return "\n".join([*lines, "*: also measured by --quick"])
