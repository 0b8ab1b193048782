"""The command ``regard``, which is ``python -m regard``: one module for each subcommand.

A subcommand's module is imported when it is run, or its options are asked for, so that
``regard --version`` does not wait for the benchmark.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

import regard

COMMANDS = {
    "info": ("regard.cli.info", "what was built, what this machine has, what will be used"),
    "demo": ("regard.cli.demo", "attention step by step, then checked and timed at model size"),
    "check": ("regard.cli.check", "every ISA of this machine against the oracle"),
    "bench": ("regard.bench.command", "speed and error, beside the ceiling of this machine"),
}

EXAMPLES = {
    "regard": """\
examples:
  regard demo                                does it work, and is it fast?
  regard info                                which ISA will be used here?
  regard check                               are all ISAs right on this CPU?
  regard bench --quick                       how fast, of what this CPU can do?

Options of a command: regard COMMAND --help. `python -m regard` is the same program.
""",
    "info": """\
examples:
  regard info
  regard info --json        the same for programs
  REGARD_ISA=avx2 regard info
""",
    "demo": """\
examples:
  regard demo
  regard demo --plot weights.png
  REGARD_ISA=generic regard demo

The exit status is 1 if a result is further from the oracle than its error bound.
""",
    "check": """\
examples:
  regard check
  regard check --isa avx2 --count 2000 --seed 1
  regard check --isa avx2 --seed 1 --problem 1234    one of them again

The exit status is 0 if every result is within its error bound, else 1.
""",
    "bench": """\
examples:
  regard bench --list                          what there is to measure
  regard bench --quick
  regard bench --isa avx2 --threads 1
  regard bench --cases 'causal*' --json results.json
""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process if not given.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> from regard import cli
    >>> status = cli.main(["check", "--count", "1"])  # doctest: +ELLIPSIS
    1 random problem of seed 0 on each ISA, against the float64 oracle
    ...
    >>> status
    0
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="regard",
        description="Exact attention for NumPy arrays on the CPU.",
        epilog=EXAMPLES["regard"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"regard {regard.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            importlib.import_module(module).add_arguments(subparser)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show the demo's Chinese words gets question marks.
        sys.stdout.reconfigure(errors="replace")
    try:
        status: int = importlib.import_module(COMMANDS[args.command][0]).main(args)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `regard bench --list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left has nowhere to go
        return 141
    except KeyboardInterrupt:
        print(f"\nregard {args.command}: interrupted", file=sys.stderr)
        return 130
    return status
