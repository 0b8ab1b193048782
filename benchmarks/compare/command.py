"""``python -m benchmarks.compare``: the options of ``regard bench``, rivals and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare import plot, runner
from benchmarks.compare.cpus import folder_of
from benchmarks.compare.report import Report
from benchmarks.compare.rivals import RIVALS
from regard._arguments import picture_file
from regard.bench import command
from regard.bench.cases import CASES
from regard.bench.runner import select

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure regard beside its rivals.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process if not given.

    Returns
    -------
    int
        0; 1 when a result of regard's own is wrong; 2 when the options make no sense.
    """
    args = arguments().parse_args(argv)
    names = tuple(name.strip() for name in args.rivals.split(",") if name.strip())
    options = runner.Options(
        **vars(command.chosen(args)), rivals=tuple(RIVALS) if names == ("all",) else names
    )
    try:
        if args.list:
            print(command.listing(select(CASES, options)))
            return 0
        report = runner.run(options)
    except ValueError as error:
        print(f"benchmarks.compare: {error}", file=sys.stderr)
        return 2
    if args.record is not None:
        args.json = str(record(report, args.record))
    status = command.conclude(report, args)
    if args.plot:
        plot.save_plot(report, args.plot)
        print(f"drawn: {args.plot}")
    return status


def record(report: Report, part: str) -> Path:
    """Name the file of a run among the committed results, and make its CPU's folder."""
    folder = RESULTS / folder_of(report.machine)
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, [report.isa, f"{report.threads}t", part]))
    return folder / f"{name}.json"


def arguments() -> argparse.ArgumentParser:
    """Declare the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description="Speed and error, beside the ceiling, targets and other libraries.",
    )
    command.add_arguments(parser)
    parser.add_argument(
        "--rivals",
        default="",
        metavar="NAMES",
        help=f"other libraries to measure, comma-separated, or 'all': {', '.join(RIVALS)}",
    )
    parser.add_argument(
        "--record",
        nargs="?",
        const="",
        metavar="PART",
        help="write to benchmarks/results/CPU/ISA-THREADSt[-PART].json",
    )
    parser.add_argument(
        "--plot",
        type=picture_file,
        metavar="FILE",
        help='draw them (.svg, .png, .pdf or .html; needs "regard[plot]")',
    )
    return parser
