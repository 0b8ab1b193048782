"""Jane Austen's six novels and Herman Melville's Moby-Dick, from Debian's packages of R packages.

Both authors are in the public domain, and the R packages, janeaustenr and tokenizers, under the MIT
license. Their data is in R's lazy-load database: an index says where each vector of strings lies in
a file, compressed behind 4 bytes with its length.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INSTALL = """\
pip install rdata
apt-get download r-cran-janeaustenr r-cran-tokenizers
for package in r-cran-*.deb; do dpkg -x $package novels; done"""

# Where apt-get install puts packages, and where the commands above do.
ROOTS = (Path("/"), Path("novels"))


def packaged_folder(package: str, roots: Sequence[Path] = ROOTS) -> Path | None:
    """Where the database of an R package is; None if it is not installed."""
    folders = (root / "usr/lib/R/site-library" / package / "data" for root in roots)
    return next((folder for folder in folders if (folder / "Rdata.rdx").is_file()), None)


def vectors(package: str, roots: Sequence[Path] = ROOTS) -> list[list[str]]:
    """Read all vectors of strings, by their names.

    Raises
    ------
    SystemExit
        A package is not installed: one line that says so, and the commands.
    """
    folder = packaged_folder(package, roots)
    if folder is None or importlib.util.find_spec("rdata") is None:
        missing = "Python package rdata" if folder else f"R package {package}"
        raise SystemExit(f"The {missing} is missing:\n{INSTALL}")
    rdata: Any = importlib.import_module("rdata")

    def read(data: bytes) -> Any:
        return rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))

    index = read(gzip.decompress((folder / "Rdata.rdx").read_bytes()))
    stored = (folder / "Rdata.rdb").read_bytes()
    return [
        [str(line) for line in read(zlib.decompress(stored[start + 4 : start + size]))]
        for _, (start, size) in sorted(index["variables"].items())
    ]


def austen() -> str:
    """Return all lines of her novels, by the names of the novels."""
    return "\n".join(line for novel in vectors("janeaustenr") for line in novel) + "\n"


def moby_dick() -> str:
    """Return the novel from its first chapter on, without Project Gutenberg's own words."""
    [[file]] = vectors("tokenizers")
    text = file.replace("\r\n", "\n")
    begin, end = text.rindex("CHAPTER 1. Loomings."), text.rindex("End of Project Gutenberg")
    return text[begin:end].rstrip() + "\n"
