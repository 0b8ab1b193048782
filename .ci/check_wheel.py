"""Two wheels of one version: the same files, nothing of C++ in them, small enough.

python .ci/check_wheel.py TREE.whl FROM_SDIST.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LIMIT = 2_000_000  # bytes
PARTS = ("py.typed", "_core.pyi", "licenses/LICENSE")
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
    size = tree.stat().st_size
    if size > LIMIT:
        findings.append(f"the wheel has {size} bytes, more than {LIMIT}")
    print("\n".join(findings) or f"{tree.name}: {len(names)} files, {size / 1e6:.2f} MB")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
