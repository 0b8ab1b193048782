"""The gallery's page of the translation: what its words are, and its picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SENTENCE = "The children were playing happily in the garden because they had no school."

TITLE = "Translation, and how it reads"
ARGUMENTS: tuple[str, ...] = (
    "--beam",
    "4",
    SENTENCE,
    "I would like to eat an apple, but it is too expensive.",
)
WORDS = (
    "English to Portuguese by a small Transformer of the Bergamot project: an encoder of "
    "six layers from `regard.nn`, on packed rows, and a decoder whose hypotheses are all queries "
    "to one `regard.KVCache` of the source sentence. Of 100 verses of the King James Bible, it "
    "translates all to the very words of the package's own engine (`--compare 100`)."
)
CAPTION = (
    "The alignment: how each token of the translation reads the source, the mean of "
    "the eight heads in the decoder's last layer, by `MultiHeadAttention.weights`."
)


def draw(printed: str) -> Callable[[str], Any]:
    """How the words of a translation read those of the sentence."""
    import translate as example
    from _models.marian.package import Translator

    translator = Translator.packaged("en-pt")
    ((_, found),) = translator.translate([SENTENCE], beam=4)

    def draw(ink: str) -> Any:
        return example.plot(translator, SENTENCE, found.tokens, None)

    return draw
