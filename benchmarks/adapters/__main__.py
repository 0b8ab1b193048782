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
from typing import Any

import torch
import transformers

import regard
from benchmarks.adapters.architectures import architectures
from benchmarks.adapters.checks import Verdicts, check, describe

SCHEMA = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--json", type=Path, help="write what was found")
    arguments = parser.parse_args()
    found: list[Verdicts] = []
    for architecture in architectures():
        if arguments.names and architecture.name not in arguments.names:
            continue
        found.append(check(architecture))
        print(describe(found[-1]), flush=True)
        if arguments.json:  # each time: a model may take the process with it
            arguments.json.write_text(written(result(found)), "utf-8")
    print(Counter(x for verdicts in found for x in verdicts.found.values()))


def written(found: dict[str, Any]) -> str:
    """Write a line for each architecture."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in found["architectures"])
    head = json.dumps({**found, "architectures": []}, indent=1)
    return head.replace('"architectures": []', f'"architectures": [\n{rows}\n]') + "\n"


def result(found: list[Verdicts]) -> dict[str, Any]:
    """Put together what is written down."""
    return {
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


if __name__ == "__main__":
    main()
