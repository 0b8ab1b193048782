"""Spans of a passage: tokens, which of them the answer is, and how right an answer is.

    question and passage -> tokens, packed -> encoder -> rows (total, features)
    rows -> linear -> two logits a token: the answer begins, and ends, here

Softmax goes over the tokens of a passage, so that its question is never the answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HIDDEN = -1e9  # instead of a logit where there is no passage
LONGEST = 4  # tokens of an answer


@dataclass(frozen=True)
class Reading:
    """Tokens of a question and its passage.

    Attributes
    ----------
    tokens : ndarray of int, shape (tokens,)
    pieces : tuple of (int, int)
        Characters of the passage that each token is, from and to; (0, 0) outside of it.
    passage : str
    """

    tokens: Array
    pieces: tuple[tuple[int, int], ...]
    passage: str

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Find the first and the last token of characters of the passage."""
        inside = [n for n, (a, b) in enumerate(self.pieces) if a < end and b > begin]
        return inside[0], inside[-1]

    def text(self, first: int, last: int) -> str:
        """Read the characters of tokens."""
        return self.passage[self.pieces[first][0] : self.pieces[last][1]]


def padded(logits: Array, readings: Sequence[Reading]) -> Array:
    """Take packed logits (total, 2) to (2, texts, longest), hidden outside of the passages."""
    longest = max(len(reading.tokens) for reading in readings)
    out = np.full((2, len(readings), longest), HIDDEN, logits.dtype)
    at = 0
    for number, reading in enumerate(readings):
        count = len(reading.tokens)
        there = np.array([b > 0 for _, b in reading.pieces])
        out[:, number, :count] = np.where(there, logits[at : at + count].T, HIDDEN)
        at += count
    return out


def packed(dlogits: Array, readings: Sequence[Reading]) -> Array:
    """Take derivatives (2, texts, longest) back to (total, 2)."""
    return np.concatenate([dlogits[:, n, : len(r.tokens)].T for n, r in enumerate(readings)])


def likeliest(logits: Array, readings: Sequence[Reading]) -> list[tuple[int, int]]:
    """Find the best span of each text, of at most `LONGEST` tokens, by its two logits' sum."""
    begins, ends = padded(logits, readings)
    spans = []
    for begin, end in zip(begins, ends, strict=True):
        sums = begin[:, None] + end
        allowed = np.triu(np.ones(sums.shape, bool)) & ~np.triu(np.ones(sums.shape, bool), LONGEST)
        first, last = divmod(int(np.where(allowed, sums, -np.inf).argmax()), len(end))
        spans.append((first, last))
    return spans


def words(answer: str) -> list[str]:
    """Words of an answer, without articles, as SQuAD's evaluation has them."""
    return [w for w in re.findall(r"\w+", answer.lower()) if w not in ("a", "an", "the")]


def exact_match(found: Sequence[str], answers: Sequence[str]) -> float:
    """Per cent of answers with the same words as the right ones."""
    same = [words(a) == words(b) for a, b in zip(found, answers, strict=True)]
    return 100 * float(np.mean(same))


def f1(found: Sequence[str], answers: Sequence[str]) -> float:
    """Mean of the harmonic means of precision and recall of words, in per cent (SQuAD's F1)."""
    scores = []
    for a, b in zip(map(words, found), map(words, answers), strict=True):
        shared = sum((Counter(a) & Counter(b)).values())
        scores.append(2 * shared / (len(a) + len(b)) if a or b else 1.0)
    return 100 * float(np.mean(scores))
