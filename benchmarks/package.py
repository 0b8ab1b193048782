"""Measures what is not the speed of a call: memory, thread scaling, import time, wheel, build.

    python benchmarks/package.py --json benchmarks/results/CPU/package.json
    python benchmarks/package.py --wheel dist/regard-*.whl --build .

Each line says what was asked for and what was found. Nothing here exits with an error when a
target is missed: the report states it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import regard
from regard._arguments import output_file
from regard._tqdm import progress
from regard.bench import machine
from regard.bench.cases import CASES
from regard.bench.inputs import make_inputs, options_of
from regard.bench.timing import Effort, interleave

SCHEMA = 1
MEMORY_SHAPE = (1, 8, 65536, 64)
MEMORY_LIMIT_MIB = 16.0
SCALING_CASES = ("full-1k-d64", "full-4k-d64", "causal-4k-d64", "causal-2k-d128-gqa4")
SCALING_TARGET = 1.9
IMPORT_LIMIT_MS = 15.0
WHEEL_LIMIT_MB = 2.0
BUILD_LIMIT_MINUTES = 4.0

# Runs in a process of its own, so that nothing else has raised the peak. The peak is reset after
# the inputs are drawn, because drawing them may have needed more than the call does.
MEMORY_PROBE = """
import json, pathlib, sys
import numpy as np
import regard

def status(field):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split(field + ":")[1].split()[0]) / 1024

shape = tuple(json.loads(sys.argv[1]))
rng = np.random.default_rng(0)
query, key, value = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
output = regard.attention(query, key, value, causal=True)
print(json.dumps({"rise": status("VmHWM") - before, "output": output.nbytes / 2**20}))
"""

IMPORT_PROBE = """
import time, numpy
start = time.perf_counter()
import regard
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: a quantity, its target and whether it was met."""

    name: str
    target: str
    reached: str
    missed: str


def scaling() -> list[Finding]:
    """One thread against all of them, in turn, in this process."""
    threads = machine.usable_cores()
    if threads < 2:
        return []
    found = []
    for name in progress(SCALING_CASES, "thread scaling"):
        case = next(case for case in CASES if case.name == name)
        inputs = make_inputs(case, np.random.default_rng())
        attend = partial(
            regard.attention, inputs.query, inputs.key, inputs.value, **options_of(case, inputs)
        )
        times = interleave(
            {"one": partial(attend, num_threads=1), "two": partial(attend, num_threads=2)},
            Effort(seconds=2.0, rounds=5),
        )
        speedup = times["one"].median / times["two"].median
        found.append(
            Finding(
                f"2 threads over 1, {case.title}",
                f">= {SCALING_TARGET}x",
                f"{speedup:.2f}x",
                "" if speedup >= SCALING_TARGET else f"by {SCALING_TARGET - speedup:.2f}x",
            )
        )
    return found


def memory() -> Finding:
    """How much a long call raises the peak resident size beyond its own output."""
    words = [sys.executable, "-c", MEMORY_PROBE, json.dumps(MEMORY_SHAPE)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    sizes = json.loads(done.stdout)
    extra = sizes["rise"] - sizes["output"]
    shape = "x".join(map(str, MEMORY_SHAPE))
    return Finding(
        f"peak memory of a {shape} float32 causal call, beyond its output",
        f"<= {MEMORY_LIMIT_MIB:.0f} MiB",
        f"{extra:.1f} MiB (output {sizes['output']:.0f} MiB)",
        "" if extra <= MEMORY_LIMIT_MIB else f"by {extra - MEMORY_LIMIT_MIB:.1f} MiB",
    )


def import_time(repeats: int = 11) -> Finding:
    """Time ``import regard`` when NumPy is already imported."""
    words = [sys.executable, "-c", IMPORT_PROBE]
    samples = [
        float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats + 1)
    ][1:]  # the first one fills the file cache
    milliseconds = statistics.median(samples) * 1e3
    missed = milliseconds - IMPORT_LIMIT_MS
    return Finding(
        "import, over NumPy's own",
        f"<= {IMPORT_LIMIT_MS:.0f} ms",
        f"{milliseconds:.1f} ms",
        "" if missed <= 0 else f"by {missed:.1f} ms",
    )


def wheel_size(wheel: Path) -> Finding:
    """Size of a wheel as it is downloaded."""
    megabytes = wheel.stat().st_size / 1e6
    missed = megabytes - WHEEL_LIMIT_MB
    return Finding(
        "wheel",
        f"<= {WHEEL_LIMIT_MB:g} MB",
        f"{megabytes:.2f} MB",
        "" if missed <= 0 else f"by {missed:.2f} MB",
    )


def build_time(source: Path) -> list[Finding]:
    """Time of ``pip wheel`` on a source tree, downloads of what the build needs included."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, str(source)]
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        minutes = (time.perf_counter() - start) / 60
        size = wheel_size(next(Path(folder).glob("*.whl")))
    missed = minutes - BUILD_LIMIT_MINUTES
    build = Finding(
        f"build on {machine.usable_cores()} cores",
        f"<= {BUILD_LIMIT_MINUTES:g} min",
        f"{minutes:.1f} min",
        "" if missed <= 0 else f"by {missed:.1f} min",
    )
    return [build, size]


def main() -> int:
    """Measure what the options ask for, print it, save it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a wheel whose size to report")
    parser.add_argument("--build", type=Path, metavar="DIR", help="a source tree to time pip on")
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the findings as JSON"
    )
    args = parser.parse_args()

    found = [*scaling(), import_time(), memory()]
    if args.wheel:
        found.append(wheel_size(args.wheel))
    if args.build:
        build, size = build_time(args.build)
        found += [build] if args.wheel else [build, size]
    for finding in found:
        verdict = f"missed {finding.missed}" if finding.missed else "met"
        print(f"{finding.name}: {finding.reached} (target {finding.target}: {verdict})")
    if args.json:
        report: dict[str, Any] = {
            "schema": SCHEMA,
            "kind": "package",
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "version": regard.__version__,
            "isa": regard.active_isa(),
            "machine": machine.describe(),
            "findings": [asdict(finding) for finding in found],
        }
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        Path(args.json).write_text(text, encoding="utf-8")
        print(f"written: {args.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
