"""Recordings with transcripts, of Debian's package pocketsphinx-testdata.

Five pieces of Jane Austen, read for LibriVox, and five calls of playing cards. The package also has
what PocketSphinx itself made of them, from before neural networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = "apt-get download pocketsphinx-testdata && dpkg -x pocketsphinx-testdata_*.deb sphinx"

# Where apt-get install puts it, and where the command above does.
FOLDERS = tuple(Path(root) / "usr/share/pocketsphinx/test/data" for root in ("/", "sphinx"))


@dataclass(frozen=True)
class Recording:
    """A file, what is said in it, and what PocketSphinx understood."""

    file: Path
    said: str
    pocketsphinx: str


def packaged_folder(folders: Sequence[Path] = FOLDERS) -> Path | None:
    """Where the recordings are; None if they are not installed."""
    return next((folder for folder in folders if (folder / "librivox").is_dir()), None)


def recordings(folder: Path | None = None) -> list[Recording]:
    """All recordings.

    Raises
    ------
    SystemExit
        They are not installed: one line that says so, and the command.
    """
    folder = folder or packaged_folder()
    if folder is None:
        raise SystemExit(f"The recordings are not installed: {INSTALL}")
    found = []
    for kind, said, heard in (
        ("librivox", "transcription", "test-lm.match"),
        ("cards", "cards.transcription", "cards.hyp"),
    ):
        theirs = _lines(folder / kind / heard)
        for name, text in _lines(folder / kind / said).items():
            found.append(Recording(folder / kind / f"{name}.wav", text, theirs[name]))
    return found


def _lines(file: Path) -> dict[str, str]:
    """Texts by the names that stand in brackets behind them, perhaps with a score."""
    lines = re.findall(r"^(.*)\((\S+?)(?: -?\d+)?\)$", file.read_text("utf-8"), re.MULTILINE)
    return {name: re.sub(r"</?s>", "", text).strip() for text, name in lines}
