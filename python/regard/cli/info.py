"""``regard info``: what was built, what this machine has, what will be used."""

from __future__ import annotations

import argparse
import json

import regard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``regard info``."""
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def main(args: argparse.Namespace) -> int:
    """Run ``regard info``.

    Parameters
    ----------
    args : argparse.Namespace
        Parsed from what :func:`add_arguments` declared.

    Returns
    -------
    int
        0.
    """
    if args.json:
        print(json.dumps(regard.show_config(mode="dicts"), indent=2))
    else:
        regard.show_config()
    return 0
