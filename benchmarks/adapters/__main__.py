"""Tries every architecture of the installed transformers, and writes down what works.

    python -m benchmarks.adapters --json benchmarks/results/transformers.json
    python -m benchmarks.adapters llama bert          only some, to look at

The table of docs/guide/transformers.md is made from the file by ``benchmarks.adapters.page``.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

import regard
from benchmarks.adapters.architectures import architectures
from benchmarks.adapters.checks import check, describe

SCHEMA = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--json", type=Path, help="write what was found")
    arguments = parser.parse_args()
    found = []
    for architecture in architectures():
        if arguments.names and architecture.name not in arguments.names:
            continue
        verdicts = check(architecture)
        print(describe(verdicts), flush=True)
        found.append(verdicts)
    print(Counter(x for verdicts in found for x in verdicts.found.values()))
    if arguments.json:
        result = {
            "schema": SCHEMA,
            "versions": {
                "regard": regard.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "python": platform.python_version(),
            },
            "isa": regard.active_isa(),
            "architectures": [asdict(verdicts) for verdicts in found],
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
