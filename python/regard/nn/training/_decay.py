"""Which parameters weight decay pulls to 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from regard.nn.training._trees import Array

Decays: TypeAlias = Callable[[str, Array], bool]


def everything(name: str, x: Array) -> bool:
    """Let all parameters decay, as PyTorch does.

    Examples
    --------
    >>> import numpy as np
    >>> everything("norm.weight", np.ones(8))
    True
    """
    return True


def matrices(name: str, x: Array) -> bool:
    """Spare biases and the gains of norms: all that has one axis.

    Examples
    --------
    >>> import numpy as np
    >>> matrices("norm.weight", np.ones(8)), matrices("linear.weight", np.ones((8, 8)))
    (False, True)
    """
    return x.ndim > 1


def check_decay(call: str, weight_decay: float) -> None:
    """Refuse a decay that would let weights grow."""
    if not weight_decay >= 0:
        raise ValueError(f"{call}: weight_decay has to be at least 0, not {weight_decay}")
