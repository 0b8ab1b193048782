"""The gallery's page of the article: what its words are, and its picture."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

TITLE = "Four words, all the way"
ARGUMENTS: tuple[str, ...] = ("--english",)
WORDS = (
    "我 喜欢 吃 苹果 from made-up vectors of two numbers to learned ones of a hundred, "
    "through several heads with positions, and a whole encoder layer, with every matrix printed. "
    "The first part is that of [self-attention on four words](../article.md), where the article's "
    "wrong figures are put right by hand."
)
CAPTION = (
    "Above: sinusoidal positions, 50 of them. Below: how the five heads of the random "
    "layer read the sentence, by `MultiHeadAttention.weights`."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the positions, and the heads of the random layer."""
    import article as example
    from _models import word_vectors

    with contextlib.redirect_stdout(io.StringIO()):
        found = example.trained(word_vectors.chinese(), 0)

    def draw(ink: str) -> Any:
        return example.draw(found)

    return draw
