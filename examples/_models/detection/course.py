"""How the detector is trained: on scenes of which none is seen twice."""

from __future__ import annotations

import numpy as np

from _models.vision.fitting import fit
from regard.nn.training import step_seed

from .model import Detector, Parameters
from .scenes import Scenes, draw

BATCH, RATE = 32, 4e-3
_HELD_OUT, _OF_BASELINES = 0, 1


def train(seed: int, steps: int) -> Detector:
    """Train a detector."""
    model = Detector.random(seed)

    def loss_and_gradients(parameters: Parameters, step: int) -> tuple[float, Parameters]:
        rng = np.random.default_rng(step_seed(seed, step))
        return model.loss_and_gradients(parameters, draw(BATCH, rng))

    parameters, _ = fit(
        loss_and_gradients, model.state_dict(), steps=steps, rate=RATE, label="detector"
    )
    model.load_state_dict(parameters)
    return model


def held_out(seed: int, count: int = 1000) -> Scenes:
    """Draw the scenes to measure with."""
    return draw(count, np.random.default_rng([_HELD_OUT, seed]))


def of_baselines(seed: int, count: int = 1000) -> Scenes:
    """Draw the scenes that the simple detectors are fitted to."""
    return draw(count, np.random.default_rng([_OF_BASELINES, seed]))
