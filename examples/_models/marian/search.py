"""Beam search: the likeliest translations, of a few hypotheses that grow side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .model import END, Marian


@dataclass(frozen=True)
class Hypothesis:
    """A translation, and the logarithm of its probability."""

    tokens: list[int]
    log_probability: float


def beam_search(
    model: Marian,
    sources: list[list[int]],
    words: list[NDArray[np.int64]],
    beam: int = 1,
    normalize: float = 1.0,
    max_length_factor: float = 2.5,
) -> list[Hypothesis]:
    """Translate sentences.

    Parameters
    ----------
    model : Marian
    sources : list of list of int
        Tokens, each list with END.
    words : list of ndarray of int64
        Which words may be written, for each sentence; END is one of them.
    beam : int, default 1
        Hypotheses of a sentence; with one, each step takes the likeliest token (greedy search).
    normalize : float, default 1
        The best hypothesis is the one of the highest log probability divided by its length, END
        counted, to this power.
    max_length_factor : float, default 2.5
        Target tokens for a source token, at most.

    Returns
    -------
    list of Hypothesis
        The best of each sentence, without END.
    """
    memory = model.remember(model.encode(sources))
    count = len(sources)
    layers = {id(one): model.output(one) for one in {id(one): one for one in words}.values()}
    outputs = [layers[id(one)] for one in words]  # sentences may share their words
    limits = np.array([int(max_length_factor * len(source)) for source in sources])
    cells = np.zeros((len(model.decoder), count, beam, model.features), np.float32)
    scores = np.full((count, beam), -np.inf)
    scores[:, 0] = 0  # all begin alike, so that only one of them may go on
    history = np.zeros((count, beam, 0), np.int64)
    lengths = np.zeros((count, beam), np.int64)
    ended = np.zeros((count, beam), bool)
    for position in range(int(limits.max())):
        before = history[..., -1] if position else None
        x, cells = model.step(before, cells, position, memory)
        parents, tokens = np.zeros((2, count, beam), np.int64)
        for n in range(count):
            growing = ~ended[n]
            if not growing.any():
                parents[n] = np.arange(beam)
                continue
            logits = outputs[n](x[n]).astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            steps = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            # A hypothesis that has ended has one way to go on: as it is.
            steps[ended[n]] = np.where(words[n] == END, 0.0, -np.inf)
            totals = (scores[n][:, np.newaxis] + steps).ravel()
            best = likeliest(totals, beam)
            scores[n] = totals[best]
            parents[n], tokens[n] = best // len(words[n]), words[n][best % len(words[n])]
        cells = np.take_along_axis(cells, parents[np.newaxis, ..., np.newaxis], axis=2)
        history = np.take_along_axis(history, parents[..., np.newaxis], axis=1)
        history = np.concatenate([history, tokens[..., np.newaxis]], axis=2)
        lengths = np.take_along_axis(lengths, parents, axis=1)
        ended = np.take_along_axis(ended, parents, axis=1)
        lengths += ~ended
        ended |= (tokens == END) | (position + 1 >= limits)[:, np.newaxis]
        if ended.all():
            break
    return [_best(history[n], lengths[n], scores[n], normalize) for n in range(count)]


def likeliest(totals: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the largest numbers, the largest first."""
    if count == 1:
        return np.array([totals.argmax()])
    some = np.argpartition(-totals, count - 1)[:count]
    return some[np.argsort(-totals[some], kind="stable")]


def _best(
    history: NDArray[np.int64], lengths: NDArray[np.int64], scores: NDArray[np.float64],
    normalize: float,
) -> Hypothesis:  # fmt: skip
    chosen = int(np.argmax(scores / lengths**normalize))
    tokens = history[chosen, : lengths[chosen]].tolist()
    return Hypothesis(tokens[:-1] if tokens[-1] == END else tokens, float(scores[chosen]))
