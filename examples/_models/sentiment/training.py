"""The training of a classifier, and scores beside those of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.nn.training import (
    AdamW,
    Batches,
    EarlyStopping,
    clip_by_global_norm,
    cross_entropy,
    matrices,
    progress,
    schedules,
    step_seed,
)

from .models import Classifier, Parameters

Array = NDArray[Any]


@dataclass(frozen=True)
class Settings:
    """How long, and how fast."""

    epochs: int
    rate: float
    batch: int = 32
    patience: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Scores:
    """Per cent right, and recall and F1 of the positive class."""

    accuracy: float
    recall: float
    f1: float

    @classmethod
    def of(cls, classes: Array, found: Array) -> Scores:
        """Compare what was found with the classes."""
        from sklearn.metrics import accuracy_score, f1_score, recall_score

        scores = (score(classes, found) for score in (accuracy_score, recall_score, f1_score))
        return cls(*(100 * float(score) for score in scores))


def logits(model: Classifier, parameters: Parameters, texts: Sequence[Any]) -> Array:
    """Logits of many texts, some at a time: (texts, 2)."""
    parts = [model.logits(parameters, texts[at : at + 64]) for at in range(0, len(texts), 64)]
    return np.concatenate(parts)


def train(
    model: Classifier,
    training: tuple[Sequence[Any], Array],
    validation: tuple[Sequence[Any], Array],
    settings: Settings,
) -> tuple[Parameters, list[tuple[float, float]]]:
    """Train, and stop when the loss on the validation texts no longer falls.

    Returns
    -------
    parameters : dict
        Of the epoch with the lowest validation loss.
    curve : list of (float, float)
        Mean training loss, with dropout, and validation loss after each epoch.
    """
    texts, classes = training
    batches = Batches(len(texts), settings.batch, settings.seed)
    steps = settings.epochs * batches.steps_per_epoch
    schedule = schedules.Linear(settings.rate, steps, warmup=steps // 10)
    optimizer = AdamW(weight_decay=0.05, decays=matrices)
    stopping = EarlyStopping(settings.patience)
    parameters = best = model.parameters
    state, of_stopping = optimizer.init(parameters), stopping.init()
    losses: list[float] = []
    curve: list[tuple[float, float]] = []
    for step in progress(range(steps), "training", lambda: f"loss {np.mean(losses[-50:]):.3f}"):
        rows = batches(step)
        loss, gradients = model.gradients(
            parameters, [texts[n] for n in rows], classes[rows], step_seed(settings.seed, step)
        )
        losses.append(loss)
        gradients, _ = clip_by_global_norm(gradients, 1.0)
        parameters, state = optimizer.update(parameters, gradients, state, schedule(step + 1))
        if (step + 1) % batches.steps_per_epoch:
            continue
        held_out = cross_entropy(logits(model, parameters, validation[0]), validation[1])
        curve.append((float(np.mean(losses[-batches.steps_per_epoch :])), float(held_out)))
        of_stopping = stopping.update(of_stopping, held_out)
        if of_stopping["improved"]:
            best = parameters
        if of_stopping["stop"]:
            break
    return best, curve


def linear_model(training: tuple[list[str], Array], texts: list[str], characters: bool) -> Array:
    """Classes by TF-IDF of words and pairs (or characters) and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    kind = {"analyzer": "char"} if characters else {"token_pattern": r"(?u)\b\w+\b"}
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, **kind),
        LogisticRegression(C=4.0, max_iter=1000),
    )
    found: Array = pipeline.fit(*training).predict(texts)
    return found


def vader(texts: list[str]) -> Array:
    """Classes by the sign of VADER's compound score, which learns from no examples."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    score = SentimentIntensityAnalyzer().polarity_scores
    return np.array([int(score(text)["compound"] > 0) for text in texts])
