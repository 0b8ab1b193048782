"""The course of a training: steps, validation, early stopping, checkpoints, several workers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from regard.nn.training import (
    AdamW,
    EarlyStopping,
    accumulate_gradients,
    clip_by_global_norm,
    load_checkpoint,
    matrices,
    process_pool,
    progress,
    save_checkpoint,
    schedules,
    step_seed,
)

from .model import Model, Parameters, Shape
from .text import Text

# A batch is computed in pieces of so many characters, whoever computes them: so any number of
# workers gives the same bits. What is between two layers of a piece, up to 256 x 704 numbers, stays
# in a core's cache of a megabyte.
PIECE = 256
CLIP = 1.0
SCHEDULES = ("cosine", "linear", "inverse-sqrt", "constant", "step")


@dataclass(frozen=True)
class Settings:
    """How a model is trained."""

    steps: int = 800
    batch: int = 16
    length: int = 128
    rate: float = 3e-3
    schedule: str = "cosine"
    seed: int = 0
    evaluations: int = 8
    patience: int = 0  # evaluations without a better one; 0 for no early stopping

    def rate_at(self, step: int) -> float:
        """Learning rate: it rises over a twentieth of the steps, which count from 1."""
        rate, warmup = self.rate, self.steps // 20
        by_name: dict[str, Any] = {
            "cosine": schedules.Cosine(rate, self.steps, warmup, lowest=rate / 10),
            "linear": schedules.Linear(rate, self.steps, warmup),
            "inverse-sqrt": schedules.InverseSquareRoot(rate, max(1, warmup)),
            "constant": schedules.Constant(rate, warmup),
            "step": schedules.Step(rate, every=max(1, self.steps // 3)),
        }
        return float(by_name[self.schedule](step + 1))


@dataclass
class Curve:
    """How the losses of a model fell."""

    training: list[float] = field(default_factory=list)  # one a step
    validation: dict[int, float] = field(default_factory=dict)  # by the steps taken
    seconds: float = 0.0


def executor(kind: str, workers: int) -> AbstractContextManager[Executor | None]:
    """Start what computes pieces at once: nothing, threads or processes."""
    if workers == 1 and kind == "threads":
        return nullcontext()
    return ThreadPoolExecutor(workers) if kind == "threads" else process_pool(workers)


class Run:
    """A model in training.

    Parameters
    ----------
    text : Text
    shape : Shape
    attention : {"regard", "numpy"}
    settings : Settings
    parameters : dict of str to ndarray, optional
        Those to begin with; random ones if not given.
    checkpoint : Path, optional
        File that is written at every evaluation.
    resume : bool
        Go on from that file, if it is there.
    workers : Executor, optional
    """

    def __init__(
        self,
        text: Text,
        shape: Shape,
        attention: str,
        settings: Settings,
        parameters: Parameters | None = None,
        checkpoint: Path | None = None,
        resume: bool = False,
        workers: Executor | None = None,
    ) -> None:
        self.text, self.settings = text, settings
        self.checkpoint, self.workers = checkpoint, workers
        self.model = Model(shape, attention)
        self.optimizer = AdamW(betas=(0.9, 0.98), weight_decay=0.1, decays=matrices)
        self.stopping = EarlyStopping(settings.patience or settings.steps)
        self.held_out = text.held_out(64, settings.length)
        self.curve = Curve()
        self.parameters = shape.parameters(settings.seed) if parameters is None else parameters
        self.best = self.parameters
        self.of_optimizer = self.optimizer.init(self.parameters)
        self.of_stopping = self.stopping.init()
        if resume and checkpoint and checkpoint.is_file():
            self._load(load_checkpoint(checkpoint))

    @property
    def done(self) -> bool:
        """Whether there are no more steps, or there is no more hope."""
        return bool(len(self.curve.training) >= self.settings.steps or self.of_stopping["stop"])

    def step(self) -> float:
        """Take one step; return the loss before it."""
        start = time.perf_counter()
        settings, taken = self.settings, len(self.curve.training)
        rng = np.random.default_rng(step_seed(settings.seed, taken))
        tokens = self.text.batch(rng, settings.batch, settings.length)
        pieces = np.array_split(
            tokens, min(settings.batch, -(-settings.batch * settings.length // PIECE))
        )
        loss, gradients = accumulate_gradients(
            self.model.loss_and_gradients, self.parameters, pieces,
            weights=[len(piece) for piece in pieces], executor=self.workers,
        )  # fmt: skip
        gradients, _ = clip_by_global_norm(gradients, CLIP)
        self.parameters, self.of_optimizer = self.optimizer.update(
            self.parameters, gradients, self.of_optimizer, settings.rate_at(taken)
        )
        self.curve.training.append(loss)
        self.curve.seconds += time.perf_counter() - start
        every = max(1, settings.steps // settings.evaluations)
        if (taken + 1) % every == 0 or taken + 1 == settings.steps:
            self._evaluate(taken + 1)
        return loss

    def _evaluate(self, steps: int) -> None:
        loss = self.model.loss(self.parameters, self.held_out)
        self.curve.validation[steps] = loss
        self.of_stopping = self.stopping.update(self.of_stopping, loss)
        if self.of_stopping["improved"]:
            self.best = self.parameters
        if self.checkpoint:
            save_checkpoint(self.checkpoint, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "made with": self._made_with(),
            "parameters": self.parameters,
            "best": self.best,
            "optimizer": self.of_optimizer,
            "stopping": self.of_stopping,
            "training": self.curve.training,
            "validation": [list(pair) for pair in self.curve.validation.items()],
            "seconds": self.curve.seconds,
        }

    def _made_with(self) -> dict[str, Any]:
        return {**asdict(self.settings), **asdict(self.model.shape), "alphabet": self.text.alphabet}

    def _load(self, state: dict[str, Any]) -> None:
        wanted = self._made_with()
        other = [name for name, x in state["made with"].items() if wanted.get(name) != x]
        if other:
            raise SystemExit(
                f"{self.checkpoint} was made with other {', '.join(other)}.\n"
                "Give the options that it was made with, or another --checkpoint."
            )
        self.parameters, self.best = state["parameters"], state["best"]
        self.of_optimizer, self.of_stopping = state["optimizer"], state["stopping"]
        self.curve = Curve(state["training"], dict(state["validation"]), state["seconds"])


def train(runs: Sequence[Run]) -> None:
    """Take all steps, one of each run in turn, with a progress bar on a terminal."""
    steps = range(max(len(run.curve.training) for run in runs), runs[0].settings.steps)
    for _ in progress(steps, "training", lambda: f"loss {runs[0].curve.training[-1]:.3f}"):
        for run in runs:
            if not run.done:
                run.step()
        if all(run.done for run in runs):
            break
