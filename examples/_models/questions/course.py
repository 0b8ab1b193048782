"""What the extractor learns from, and how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _models.vision.fitting import fit
from regard import nn
from regard.nn.training import Batches

from .extractor import Extractor, Parameters
from .stories import Story, stories

BATCH = 16
RATE = 3e-4


def held_out(task: int, count: int, learnt: int, seed: int) -> list[Story]:
    """Draw stories that are not among those that are learnt from."""
    return stories(task, count, seed + 1, without=stories(task, learnt, seed))


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
