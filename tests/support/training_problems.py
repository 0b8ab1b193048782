"""A small network with dropout whose gradients are written out, for the tests of training.

In a module, so that processes can import it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from regard.nn.training import cross_entropy_vjp

FEATURES, HIDDEN, CLASSES = 5, 16, 3


def parameters(dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "first.weight": rng.standard_normal((HIDDEN, FEATURES)).astype(dtype),
        "first.bias": rng.standard_normal(HIDDEN).astype(dtype),
        "last.weight": rng.standard_normal((CLASSES, HIDDEN)).astype(dtype),
    }


def examples(count: int, dtype: Any = np.float64) -> tuple[Any, Any]:
    """Points and the sides of a plane that they are on."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((count, FEATURES)).astype(dtype)
    return x, (x[:, :CLASSES] @ rng.standard_normal((CLASSES, CLASSES))).argmax(axis=-1)


def loss_and_gradients(weights: Any, piece: Any) -> tuple[float, dict[str, Any]]:
    """Of (inputs, classes), or with a seed of the dropout behind them."""
    x, classes, *seed = piece
    hidden = np.tanh(x @ weights["first.weight"].T + weights["first.bias"])
    kept = np.ones_like(hidden)
    if seed:
        kept = (np.random.default_rng(seed[0]).random(hidden.shape) < 0.8) / x.dtype.type(0.8)
    dropped = hidden * kept
    loss, back = cross_entropy_vjp(dropped @ weights["last.weight"].T, classes)
    dlogits = back()
    dhidden = dlogits @ weights["last.weight"] * kept * (1 - hidden**2)
    return loss, {
        "first.weight": dhidden.T @ x,
        "first.bias": dhidden.sum(axis=0),
        "last.weight": dlogits.T @ dropped,
    }


def broken(weights: Any, piece: Any) -> tuple[float, dict[str, Any]]:
    raise ArithmeticError("the piece is broken")


def dead(weights: Any, piece: Any) -> tuple[float, dict[str, Any]]:
    os._exit(3)


def threads_of(weights: Any, piece: Any) -> tuple[float, dict[str, Any]]:
    """Loss: the threads that the process was told to use."""
    return float(os.environ["OPENBLAS_NUM_THREADS"]), weights
