"""The gallery's picture of sentence_similarity.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import regard

TITLE = "Sentences that mean the same"
ARGUMENTS = ("--top", "4", "--figures", "examples/figures/sentence_similarity.json")
WORDS = (
    "Embeds sentences with all-MiniLM-L6-v2, a trained transformer of six layers, in `regard.nn`. "
    "The tokens of all sentences lie one after the other: nothing is padded."
)
CAPTION = (
    "Left: what the program prints. Right: one head of one layer on the seventh sentence, by "
    "the layer's own weights."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Similarities of the sentences, and how two heads read one of them."""
    import sentence_similarity as example

    encoder = example.SentenceEncoder(example.packaged_model())
    vectors = encoder.encode(example.SENTENCES)
    text = "Shares dropped on the news."
    tokens = encoder.tokenize([text])
    x, _ = encoder.model.embed(tokens)
    layers = encoder.model.encoder.layers
    for layer in layers[:2]:
        x = layer(x)
    heads = layers[2].self_attn.weights(x)
    words = [encoder.tokenizer.id_to_token(n) for n in tokens[0]]

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        numbers = [str(n) for n in range(1, len(vectors) + 1)]
        regard.plot.heatmap(
            np.clip(vectors @ vectors.T, 0, 1), query_labels=numbers, key_labels=numbers, ax=left,
            title="cosine of the nine sentences",
        )  # fmt: skip
        left.set_xlabel("sentence")
        left.set_ylabel("sentence")
        regard.plot.heatmap(
            heads[3], query_labels=words, key_labels=words, ax=right,
            title="weights of layer 3, head 4",
        )  # fmt: skip
        return figure

    return draw
