"""What the extractor learns from, how long, and how well it then answers."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from _models.vision.fitting import fit
from regard import nn
from regard.nn.training import Batches

from .extractor import Extractor, Parameters
from .spans import exact_match, f1
from .stories import PLACES, Story, stories

BATCH = 16
RATE = 4e-4


@dataclass(frozen=True)
class Scores:
    """Per cent of exact answers, mean F1 of their words, per cent with exactly the right facts."""

    exact: float
    f1: float
    facts: float


def held_out(task: int, count: int, learnt: int, seed: int) -> list[Story]:
    """Draw stories that are not among those that are learnt from."""
    known = set(stories(task, learnt, seed))
    drawn = stories(task, 2 * count, seed + 1)
    return [story for story in drawn if story not in known][:count]


def train(
    model: Extractor, learnt: Sequence[Story], steps: int, seed: int
) -> tuple[Parameters, list[float]]:
    """Train on stories of all tasks together; returns the loss of each step too."""
    examples = model.read(learnt)
    batches = Batches(len(examples), BATCH, seed)

    def loss_and_gradients(parameters: Parameters, step: int) -> tuple[float, Parameters]:
        return model.gradients(parameters, [examples[n] for n in batches(step)])

    return fit(loss_and_gradients, model.parameters, steps=steps, rate=RATE, label="training")


def kept(
    folder: Path | None, model: Extractor, learnt: Sequence[Story], steps: int, seed: int
) -> Parameters:
    """Read weights that are kept in a folder; train and keep them if there are none."""
    file = folder / "extractor.safetensors" if folder else None
    if file and file.is_file():
        return dict(nn.load_safetensors(file))
    start = time.process_time()
    parameters, losses = train(model, learnt, steps, seed)
    last, seconds = float(np.mean(losses[-20:])), time.process_time() - start
    print(
        f"MiniLM learns from {len(learnt):,} stories: {steps} steps of {BATCH}, {seconds:.0f} s of "
        f"CPU, last losses {last:.3f}",
        flush=True,
    )
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        nn.save_safetensors(parameters, file)
    return parameters


def score(model: Extractor, parameters: Parameters, asked: Sequence[Story]) -> Scores:
    """Answer, and compare."""
    texts, facts = model.answers(parameters, model.read(asked))
    answers = [story.answer for story in asked]
    right = [found == set(story.facts) for found, story in zip(facts, asked, strict=True)]
    return Scores(exact_match(texts, answers), f1(texts, answers), 100 * sum(right) / len(right))


def last_places(asked: Sequence[Story]) -> list[str]:
    """Answer with the place that is named last, which takes no reading."""
    return [re.findall("|".join(PLACES), story.passage)[-1] for story in asked]
