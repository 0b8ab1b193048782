"""Choosing the next token from its logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Sampler:
    """Draws tokens with the probabilities softmax(logits / temperature).

    Parameters
    ----------
    temperature : float
        0 always takes the most probable token; 1 draws with the model's own probabilities.
    top_k : int
        Only the k most probable tokens can be drawn; 0 for all.
    top_p : float
        Only the most probable tokens that make up this probability together can be drawn.
    seed : int, optional
        Draws the same tokens for the same logits.
    """

    def __init__(
        self, temperature: float, top_k: int = 0, top_p: float = 1.0, seed: int | None = None
    ) -> None:
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.random = np.random.default_rng(seed)

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """Draw a token: (V,) -> its number."""
        if self.temperature == 0:
            return int(np.argmax(logits))
        tokens, probabilities = self.candidates(logits)
        return int(self.random.choice(tokens, p=probabilities))

    def candidates(
        self, logits: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Tokens that can be drawn, the most probable first, with probabilities of sum 1."""
        if 0 < self.top_k < len(logits):
            tokens = np.argpartition(-logits, self.top_k)[: self.top_k]
        else:
            tokens = np.arange(len(logits))
        tokens = tokens[np.argsort(-logits[tokens], kind="stable")]
        scores = logits[tokens].astype(np.float64)
        weights = np.exp((scores - scores[0]) / self.temperature)
        cumulative = np.cumsum(weights / weights.sum())
        # The token that reaches top_p is the last one in.
        kept = 1 + int(np.searchsorted(cumulative[:-1], self.top_p))
        return tokens[:kept], weights[:kept] / weights[:kept].sum()
