"""Which head of the extractor goes from the question to the facts, and its map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .extractor import Example, Extractor, Parameters
from .stories import Story

Array = NDArray[Any]


def question_rows(example: Example) -> Array:
    """Which tokens are the question: those before the passage, but for the marks around them."""
    first = int(np.flatnonzero(example.sentences >= 0)[0])
    return np.arange(1, first - 1)


def to_facts(weights: Array, example: Example) -> Array:
    """Share of the question's weight on the passage that is on its facts: (layers, heads)."""
    rows = weights[:, :, question_rows(example)].mean(axis=2)
    share: Array = rows[..., example.marks == 1].sum(-1) / rows[..., example.sentences >= 0].sum(-1)
    return share


def best_head(
    model: Extractor, parameters: Parameters, examples: Sequence[Example]
) -> tuple[int, int, float]:
    """Find the head whose share on the facts is largest, as a mean over examples.

    Returns
    -------
    layer, head : int
    share : float
        Its mean; facts have as much of an average head as they have tokens.
    """
    shares = np.mean([to_facts(model.attention(parameters, e), e) for e in examples], axis=0)
    layer, head = np.unravel_index(shares.argmax(), shares.shape)
    return int(layer), int(head), float(shares[layer, head])


def plot(model: Extractor, parameters: Parameters, stories: Sequence[Story], head: Any) -> Any:
    """Draw how the question of each story reads its sentences, by one head (layer, head).

    A row is a token of the question, a column the sum over a sentence; facts have a frame.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    import regard

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(stories), squeeze=False)[0]
    for story, example, axes in zip(stories, model.read(stories), panels, strict=True):
        rows = question_rows(example)
        weights = model.attention(parameters, example)[head][rows]
        sums = [weights[:, example.sentences == n].sum(1) for n in range(len(story.sentences))]
        tokens = [model.tokenizer.id_to_token(int(n)) for n in example.reading.tokens[rows]]
        regard.plot.heatmap(
            np.stack(sums, axis=1), query_labels=tokens, key_labels=story.sentences, ax=axes
        )
        for fact in story.facts:
            frame = Rectangle((fact - 0.5, -0.5), 1, len(rows), fill=False, edgecolor="C1", lw=2)
            axes.add_patch(frame)
        axes.set(xlabel=f"answer: {story.answer}", ylabel="")
    return figure
