"""Questions and answers of chatterbot-corpus (BSD license), found by MiniLM or by TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.minilm.model import MiniLM
from _models.packages import package_folder

Array = NDArray[Any]

INSTALL = "pip install pyyaml && pip install --no-deps chatterbot-corpus"


def corpus() -> list[tuple[str, tuple[str, ...]]]:
    """Read the English questions, and the answers of each; first lines and second ones.

    Raises
    ------
    SystemExit
        The package is missing: one line that says so, and the command.
    """
    import yaml

    folder = package_folder("chatterbot_corpus", INSTALL) / "data" / "english"
    found: dict[str, dict[str, None]] = {}
    for file in sorted(folder.glob("*.yml")):
        for lines in yaml.safe_load(file.read_text("utf-8"))["conversations"]:
            if len(lines) > 1:
                question, answer = (" ".join(str(line).split()) for line in lines[:2])
                found.setdefault(question, {})[answer] = None
    return [(question, tuple(answers)) for question, answers in found.items()]


class Encoder:
    """Texts to vectors of length one, by MiniLM."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.model = MiniLM(folder / "model.safetensors")
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        self.tokenizer.enable_truncation(256)

    def __call__(self, texts: Sequence[str], batch: int = 32) -> Array:
        """Embed texts, packed, some at a time: (texts, 384)."""
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        parts = [self.model(tokens[at : at + batch]) for at in range(0, len(tokens), batch)]
        return np.concatenate(parts)


def tfidf(asked: Sequence[str], texts: Sequence[str]) -> Array:
    """Cosines of TF-IDF of words: (asked, texts); the texts alone say how rare a word is."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit(texts)
    cosines: Array = (vectorizer.transform(asked) @ vectorizer.transform(texts).T).toarray()
    return cosines


def found_first(scores: Array, right: Sequence[set[int]], first: int = 1) -> float:
    """Per cent of rows where one of the right columns is among the first; ties are not won.

    Parameters
    ----------
    scores : ndarray, shape (asked, texts)
    right : sequence of set of int
    first : int, default 1
        How many columns of the largest scores count.
    """
    hits = []
    for row, columns in zip(scores, right, strict=True):
        best = max(row[column] for column in columns)
        others = [column for column in np.flatnonzero(row >= best) if column not in columns]
        hits.append(len(others) < first)
    return 100 * float(np.mean(hits))
