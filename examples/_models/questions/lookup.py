"""Questions and answers of chatterbot-corpus (BSD license), found by MiniLM or by TF-IDF.

Both compare texts by cosines, and neither learns here. Looked up are: questions, by others in other
words; answers, by their own questions; and questions, by others that have the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.minilm.model import MiniLM
from _models.packages import package_folder

from .reworded import reworded

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


@dataclass(frozen=True)
class Search:
    """Texts to ask with, texts to find, and which of these are right for each.

    Attributes
    ----------
    name : str
    asked, texts : list of str
    right : list of set of int
    others : list of set of int
        Texts that do not count for each: itself, where the asked are among the texts.
    """

    name: str
    asked: list[str]
    texts: list[str]
    right: list[set[int]]
    others: list[set[int]]


def searches(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> list[Search]:
    """Make the three of them of the corpus."""
    questions = [question for question, _ in pairs]
    answers = sorted({answer for _, own in pairs for answer in own})
    numbers = {question: number for number, question in enumerate(questions)}
    asking: dict[str, set[int]] = {}
    for question, own in pairs:
        for answer in own:
            asking.setdefault(answer, set()).add(numbers[question])
    same = [set().union(*(asking[a] for a in own)) - {n} for n, (_, own) in enumerate(pairs)]
    shared = [n for n, others in enumerate(same) if others]
    pairs_of_words = reworded(questions)
    none: set[int] = set()
    places = {answer: number for number, answer in enumerate(answers)}
    return [
        Search(
            "the same question in other words", [ours for ours, _ in pairs_of_words], questions,
            [{numbers[theirs]} for _, theirs in pairs_of_words], [none] * len(pairs_of_words),
        ),
        Search(
            "an answer, by its question", questions, answers,
            [{places[answer] for answer in own} for _, own in pairs], [none] * len(pairs),
        ),
        Search(
            "another question with the same answer", [questions[n] for n in shared], questions,
            [same[n] for n in shared], [{n} for n in shared],
        ),
    ]  # fmt: skip


def shares(search: Search, cosines: Array) -> tuple[float, float]:
    """Per cent found first, and among the first five."""
    scores = cosines.copy()
    for row, columns in zip(scores, search.others, strict=True):
        row[list(columns)] = -np.inf
    return found_first(scores, search.right), found_first(scores, search.right, 5)


def nearest(
    encode: Encoder, pairs: Sequence[tuple[str, tuple[str, ...]]], text: str
) -> tuple[str, str, float]:
    """Find the question that is most like a text: itself, its first answer, and the cosine."""
    cosines = encode([question for question, _ in pairs]) @ encode([text])[0]
    question, answers = pairs[int(cosines.argmax())]
    return question, answers[0], float(cosines.max())
