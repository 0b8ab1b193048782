"""Jane Austen's six novels, from Debian's package of the R package janeaustenr.

The novels are vectors of lines in R's lazy-load database: an index says where each lies in a file,
compressed behind 4 bytes with its length.
"""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INSTALL = """\
pip install rdata
apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen"""

# Where apt-get install puts it, and where the commands above do.
FOLDERS = tuple(Path(root) / "usr/lib/R/site-library/janeaustenr/data" for root in ("/", "austen"))


def packaged_folder(folders: Sequence[Path] = FOLDERS) -> Path | None:
    """Where the database is; None if it is not installed."""
    return next((folder for folder in folders if (folder / "Rdata.rdx").is_file()), None)


def novels(folder: Path | None = None) -> str:
    """All lines of all novels, by the names of the novels."""
    folder = folder or packaged_folder()
    try:
        rdata: Any = importlib.import_module("rdata")
    except ImportError as error:
        raise SystemExit(f"The novels need a package that is missing:\n{INSTALL}") from error
    if folder is None:
        raise SystemExit(f"The novels are not installed:\n{INSTALL}")

    def read(data: bytes) -> Any:
        return rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))

    index = read(gzip.decompress((folder / "Rdata.rdx").read_bytes()))
    stored = (folder / "Rdata.rdb").read_bytes()
    lines: list[str] = []
    for _, (start, size) in sorted(index["variables"].items()):
        lines += map(str, read(zlib.decompress(stored[start + 4 : start + size])))
    return "\n".join(lines) + "\n"
