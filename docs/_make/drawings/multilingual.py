"""The gallery's page of sentences in two languages: what its words are, and its picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TITLE = "One meaning in two languages"
ARGUMENTS: tuple[str, ...] = ("--compare",)
WORDS = (
    "Chinese sentences and English ones as vectors, by multilingual-e5-small: twelve "
    "layers of `regard.nn` on packed rows, with weights of 4 bits. The package brings an engine "
    "in C, which is compiled and compared with."
)
CAPTION = "Cosines of Chinese and English sentences; those on the diagonal are translations."


def draw(printed: str) -> Callable[[str], Any]:
    """Cosines of the Chinese sentences, down, and the English ones, across."""
    import multilingual as example
    import regard
    from _models.e5.encoder import SentenceEncoder

    vectors = SentenceEncoder.packaged().encode([text for pair in example.PAIRS for text in pair])
    matrix = (vectors[0::2] @ vectors[1::2].T).clip(0, 1)
    english = [pair[1] for pair in example.PAIRS]

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.4), layout="constrained")
        axes = figure.subplots()
        numbers = [str(n) for n in range(1, len(english) + 1)]
        regard.plot.heatmap(matrix, query_labels=english, key_labels=numbers, ax=axes)
        axes.set(xlabel="English sentence", ylabel="Chinese sentence, by its meaning")
        return figure

    return draw
