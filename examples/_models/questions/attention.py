"""Which head of the extractor goes from the question to the facts, and its map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Head(NamedTuple):
    """A head, and its mean share on facts beside that of equal weights on all tokens."""

    layer: int
    number: int
    share: float
    alike: float


def best_head(
    model: Extractor, parameters: Parameters, asked: Sequence[Sequence[Story]], each: int = 20
) -> Head:
    """Find the head whose share on the facts is largest, over the first stories of each task."""
    examples = [example for stories in asked for example in model.read(stories[:each])]
    shares = np.mean([to_facts(model.attention(parameters, e), e) for e in examples], axis=0)
    layer, number = np.unravel_index(shares.argmax(), shares.shape)
    alike = np.mean([(e.marks == 1).sum() / (e.sentences >= 0).sum() for e in examples])
    return Head(int(layer), int(number), float(shares[layer, number]), float(alike))


def plot(model: Extractor, parameters: Parameters, stories: Sequence[Story], head: Head) -> Any:
    """Draw how the question of each story reads its sentences, by one head.

    A row is a token of the question, a column the sum over a sentence; facts have a frame.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    import regard

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(stories), squeeze=False)[0]
    for story, example, axes in zip(stories, model.read(stories), panels, strict=True):
        rows = question_rows(example)
        weights = model.attention(parameters, example)[head.layer, head.number][rows]
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
