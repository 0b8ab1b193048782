"""Figures of trained models that other packages do not give.

Accuracy, precision, recall, F1 and confusion matrices are in scikit-learn, BLEU in sacrebleu, word
error rates in jiwer: the guide shows them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["perplexity"]


def perplexity(losses: ArrayLike, counts: ArrayLike | None = None) -> float:
    """Perplexity of a language model: e to the mean cross-entropy of a token.

    Parameters
    ----------
    losses : array_like of float
        Mean losses in nats of a token, of one batch or of several.
    counts : array_like of int, optional
        How many tokens each of them is the mean of. Equal if not given.

    Returns
    -------
    float
        1 for a model that knows every token; the size of the vocabulary for one that knows nothing.

    Raises
    ------
    ValueError
        There is no loss, or counts do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.evaluation import perplexity
    >>> round(perplexity(np.log(70)), 6)
    70.0
    >>> round(perplexity([np.log(2), np.log(16)], counts=[2, 1]), 6)
    4.0
    """
    nats = np.asarray(losses, dtype=np.float64)
    tokens = np.ones_like(nats) if counts is None else np.asarray(counts, dtype=np.float64)
    if tokens.shape != nats.shape or not nats.size or (tokens < 0).any() or not tokens.any():
        raise ValueError(
            f"perplexity: counts do not fit the losses.\n  losses  {nats.shape}\n"
            f"  counts  {tokens.shape}\n  Give a number of tokens, at least 0, for each loss."
        )
    return math.exp(float(np.sum(nats * tokens) / np.sum(tokens)))
