"""MiniLM with a linear layer that points at the answer and marks the facts it follows from.

    question and passage -> tokens, packed -> MiniLM's six layers -> rows (total, 384)
    rows -> linear -> four logits a token: the answer begins here, ends here; no fact, a fact

All six layers are trained, and the table of words is not. The loss is that of the answer's first
and last token, and of the marks: "strong supervision", as the paper of the tasks calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.minilm.model import MiniLM
from regard import nn
from regard.nn.training import cross_entropy_vjp

from .spans import Reading, likeliest, packed, padded
from .stories import Story

Array = NDArray[Any]
Parameters = dict[str, Array]

SETTINGS: nn.Settings = {"activation": "gelu", "eps": 1e-12}
MARKS = 2.0  # the weight of their loss: with 1, two and three facts were hardly learnt in 400 steps
OUTSIDE = -100  # tokens that are no part of a passage have no mark


@dataclass(frozen=True)
class Example:
    """A story that is read, and what is to be found in it.

    Attributes
    ----------
    reading : Reading
    span : (int, int)
        First and last token of the answer.
    marks : ndarray of int, shape (tokens,)
        1 in a fact, 0 in another sentence, `OUTSIDE` elsewhere.
    sentences : ndarray of int, shape (tokens,)
        Which sentence a token is in; -1 outside of the passage.
    """

    reading: Reading
    span: tuple[int, int]
    marks: Array
    sentences: Array


class Extractor:
    """The model; what is trained is in `parameters`, which no method changes.

    Parameters
    ----------
    folder : Path
        With MiniLM's `model.safetensors` and `vocab.txt`.
    seed : int
        For the linear layer.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.model = MiniLM(folder / "model.safetensors")
        self.tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
        features = self.model.kind.shape[0]
        head = 0.02 * np.random.default_rng([seed, 3]).standard_normal((4, features))
        self.parameters: Parameters = {
            **{f"encoder.{name}": x for name, x in self.model.encoder.state_dict().items()},
            "head.weight": head.astype(np.float32),
            "head.bias": np.zeros(4, np.float32),
        }

    def read(self, stories: Sequence[Story]) -> list[Example]:
        """Cut stories into tokens, and find answers and facts among them."""
        pairs = [(story.question, story.passage) for story in stories]
        examples = []
        for story, encoding in zip(stories, self.tokenizer.encode_batch(pairs), strict=True):
            pieces = tuple(
                place if part == 1 else (0, 0)
                for place, part in zip(encoding.offsets, encoding.sequence_ids, strict=True)
            )
            reading = Reading(np.array(encoding.ids), pieces, story.passage)
            starts = [0, *accumulate(len(sentence) + 1 for sentence in story.sentences)]
            begin = starts[story.where] + story.sentences[story.where].index(story.answer)
            inside = np.array([end > 0 for _, end in pieces])
            places = np.searchsorted(starts, [first for first, _ in pieces], "right") - 1
            examples.append(
                Example(
                    reading,
                    reading.span(begin, begin + len(story.answer)),
                    np.where(inside, np.isin(places, story.facts), OUTSIDE),
                    np.where(inside, places, -1),
                )
            )
        return examples

    def layers(self, parameters: Parameters) -> tuple[nn.TransformerEncoder, nn.Linear]:
        """Make the layers of their parameters."""
        own: dict[str, Parameters] = {"encoder": {}, "head": {}}
        for name, x in parameters.items():
            part, _, rest = name.partition(".")
            own[part][rest] = x
        encoder = nn.TransformerEncoder.from_state_dict(own["encoder"], num_heads=12, **SETTINGS)
        return encoder, nn.Linear.from_state_dict(own["head"])

    def gradients(
        self, parameters: Parameters, examples: Sequence[Example]
    ) -> tuple[float, Parameters]:
        """Loss of examples, and its derivative by each parameter."""
        encoder, head = self.layers(parameters)
        readings = [example.reading for example in examples]
        x, offsets = self.model.embed([reading.tokens for reading in readings])
        x = x.astype(parameters["head.bias"].dtype, copy=False)
        x, back_encoder = encoder.vjp(x, offsets=offsets)
        logits, back_head = head.vjp(x)
        spans = np.array([example.span for example in examples]).T
        of_spans, back_spans = cross_entropy_vjp(padded(logits[:, :2], readings), spans)
        marks = np.concatenate([example.marks for example in examples])
        of_marks, back_marks = cross_entropy_vjp(logits[:, 2:], marks)
        dlogits = np.concatenate([packed(back_spans(), readings), MARKS * back_marks()], axis=1)
        by_head = back_head(dlogits)
        by_encoder = back_encoder(by_head.x)
        gradients = {f"encoder.{name}": g for name, g in by_encoder.parameters.items()}
        gradients |= {f"head.{name}": g for name, g in by_head.parameters.items()}
        return of_spans + MARKS * of_marks, gradients

    def answers(
        self, parameters: Parameters, examples: Sequence[Example], batch: int = 32
    ) -> tuple[list[str], list[set[int]]]:
        """Find the answer of each example, and the sentences that are marked as facts."""
        encoder, head = self.layers(parameters)
        texts: list[str] = []
        facts: list[set[int]] = []
        for at in range(0, len(examples), batch):
            part = examples[at : at + batch]
            readings = [example.reading for example in part]
            x, offsets = self.model.embed([reading.tokens for reading in readings])
            logits = head(encoder(x, offsets=offsets))
            for reading, span in zip(readings, likeliest(logits[:, :2], readings), strict=True):
                texts.append(reading.text(*span))
            margins = nn.unpack(logits[:, 3] - logits[:, 2], offsets)
            facts += [marked(e.sentences, m) for e, m in zip(part, margins, strict=True)]
        return texts, facts

    def attention(self, parameters: Parameters, example: Example) -> Array:
        """Weights of all heads in one example: (layers, heads, tokens, tokens)."""
        encoder, _ = self.layers(parameters)
        x, _ = self.model.embed([example.reading.tokens])
        weights = []
        for layer in encoder.layers:
            weights.append(layer.self_attn.weights(x))
            x = layer(x)
        return np.stack(weights)


def marked(sentences: Array, margins: Array) -> set[int]:
    """Sentences whose tokens are facts on the whole: the mean margin is above 0."""
    inside = sentences >= 0
    sums = np.bincount(sentences[inside], margins[inside])
    return set(np.flatnonzero(sums > 0).tolist())
