"""AdamW (Loshchilov and Hutter 2019), with clipped gradients and a rate that rises and falls."""

from __future__ import annotations

import math

import numpy as np

from .model import Parameters


class AdamW:
    """Changes parameters in place.

    Parameters
    ----------
    parameters : dict of str to ndarray
    steps : int
        Length of the run: the rate rises over its first twentieth and falls along a cosine to a
        tenth.
    rate, decay : float
        Learning rate at its highest, and weight decay, which spares vectors.
    betas : tuple of float
        How slowly the means of gradients and their squares forget.
    clip : float
        The norm that all gradients together are cut to.
    """

    def __init__(
        self,
        parameters: Parameters,
        steps: int,
        rate: float = 3e-3,
        decay: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.98),
        clip: float = 1.0,
    ) -> None:
        self.parameters = parameters
        self.steps, self.rate, self.decay, self.betas, self.clip = steps, rate, decay, betas, clip
        self.taken = 0
        self.means = {name: np.zeros_like(x) for name, x in parameters.items()}
        self.squares = {name: np.zeros_like(x) for name, x in parameters.items()}

    def rate_now(self) -> float:
        """Learning rate of the next step."""
        warmup = max(1, self.steps // 20)
        if self.taken < warmup:
            return self.rate * (self.taken + 1) / warmup
        done = min(1.0, (self.taken - warmup) / max(1, self.steps - warmup))
        return self.rate * (0.55 + 0.45 * math.cos(math.pi * done))

    def step(self, gradients: Parameters) -> None:
        """Take one step."""
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
        shrink = min(1.0, self.clip / (norm + 1e-12))
        rate = self.rate_now()
        self.taken += 1
        first, second = self.betas
        # Means that start at 0 are too small by these factors.
        unbias, unbias_square = 1 - first**self.taken, 1 - second**self.taken
        for name, x in self.parameters.items():
            gradient = gradients[name] * x.dtype.type(shrink)
            mean, square = self.means[name], self.squares[name]
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient * gradient - square)
            if x.ndim > 1:
                x *= 1 - rate * self.decay
            x -= (rate / unbias) * mean / (np.sqrt(square / unbias_square) + 1e-8)
