"""Inventories of other projects from text files, so that no build needs the network.

``docs/inventories/PROJECT.txt`` begins with the address of the project's documentation; each line
after that is a name, its kind, and its page below that address. Sphinx reads inventories in a
compressed form, which is written before the build.
"""

from __future__ import annotations

import zlib
from pathlib import Path


def write_inventories(folder: Path, target: Path) -> dict[str, tuple[str, str]]:
    """Write ``target/PROJECT.inv`` for each text file; return what intersphinx takes."""
    target.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for path in sorted(folder.glob("*.txt")):
        address, *lines = path.read_text("utf-8").split("\n")
        entries = [line.split() for line in lines if line.strip()]
        head = f"# Sphinx inventory version 2\n# Project: {path.stem}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        body = "".join(f"{name} {kind} 1 {page} -\n" for name, kind, page in entries)
        file = target / f"{path.stem}.inv"
        file.write_bytes(head.encode() + zlib.compress(body.encode()))
        mapping[path.stem] = (address, str(file))
    return mapping
