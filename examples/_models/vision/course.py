"""How the two sets of digits are learnt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regard.nn.training import Batches, step_seed

from .classifier import Classifier, Parameters
from .fitting import fit
from .images import Split
from .warping import Warp


@dataclass(frozen=True)
class Course:
    """A model's sizes, and its training.

    Attributes
    ----------
    title : str
    window, stride : int
        Pixels of a patch's side, and from one patch to the next.
    features : int
    warp : Warp
        What happens to the images of each batch.
    steps : int
    batch : int
    rate : float
        The highest learning rate.
    """

    title: str
    window: int
    stride: int
    features: int
    warp: Warp
    steps: int
    batch: int = 64
    rate: float = 3e-3

    def start(self, seed: int) -> Classifier:
        """Make a model that has learnt nothing."""
        return Classifier.random(
            seed, window=self.window, stride=self.stride, features=self.features, layers=3
        )


SLIGHT = Warp(turn=0.1, stretch=0.1, shear=0.1, move=0.5)
COURSES = {
    "digits": Course("digits of 8 x 8 pixels", 4, 2, 48, SLIGHT, steps=800),
    "mnist": Course("MNIST, 28 x 28 pixels", 10, 6, 64, Warp(bend=1.0), steps=3000),
}


def train(split: Split, course: Course, seed: int, steps: int = 0) -> Classifier:
    """Train a classifier, for other than the course's steps if they are given."""
    model = course.start(seed)
    batches = Batches(len(split.images), course.batch, seed)

    def loss_and_gradients(parameters: Parameters, step: int) -> tuple[float, Parameters]:
        rows = batches(step)
        rng = np.random.default_rng(step_seed(seed, step))
        images = course.warp(split.images[rows], rng)
        return model.loss_and_gradients(parameters, images, split.labels[rows])

    parameters, _ = fit(
        loss_and_gradients, model.state_dict(), steps=steps or course.steps, rate=course.rate,
        label=course.title,
    )  # fmt: skip
    model.load_state_dict(parameters)
    return model
