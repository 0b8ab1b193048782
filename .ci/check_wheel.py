"""Two wheels of one version: the same files, nothing of C++ in them, small enough.

auditwheel reads what the compiled core needs of the machine that it is installed on.

    pip install auditwheel
    python .ci/check_wheel.py TREE.whl FROM_SDIST.whl
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

LIMIT = 2_000_000  # bytes
PARTS = ("py.typed", "_core.pyi", "licenses/LICENSE")
RUNTIMES = {"libgomp.so.1", "libomp.so.5"}  # of OpenMP; all else belongs to every Linux
FOREIGN = {".a", ".c", ".cc", ".cpp", ".h", ".hpp", ".cmake", ".o"}


def main(tree: Path, from_sdist: Path) -> int:
    """Print every finding; 1 if there is one."""
    findings = []
    names = set(zipfile.ZipFile(tree).namelist())
    others = set(zipfile.ZipFile(from_sdist).namelist())
    findings += [f"{name} is only in the wheel of the tree" for name in sorted(names - others)]
    findings += [f"{name} is only in the wheel of the sdist" for name in sorted(others - names)]
    for name in sorted(names):
        if not name.startswith(("regard/", "regard-")) or Path(name).suffix in FOREIGN:
            findings.append(f"{name} has no place in a wheel")
    for part in PARTS:
        if not any(name.endswith(part) for name in names):
            findings.append(f"{part} is missing")
    if sum(Path(name).suffix == ".so" for name in names) != 1:
        findings.append("there is not just one extension module")
    needs = audit(tree)
    for library in sorted(set(needs["external_libs"]) - RUNTIMES):
        findings.append(f"the core needs {library}, which a machine may not have")
    if needs["unsupported_isa"]:
        findings.append("the core as a whole needs an instruction set that a CPU may not have")
    size = tree.stat().st_size
    if size > LIMIT:
        findings.append(f"the wheel has {size} bytes, more than {LIMIT}")
    found = f"{tree.name}: {len(names)} files, {size / 1e6:.2f} MB, for {needs['sym_tag']}"
    print("\n".join(findings) or found)
    return 1 if findings else 0


def audit(wheel: Path) -> dict[str, Any]:
    """Return what auditwheel finds in a wheel."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
