"""Early stopping: when a validation loss has not become better for some time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after so many evaluations in a row without a better one [1]_.

    Parameters
    ----------
    patience : int
        Evaluations without improvement after which to stop, at least 1.
    min_delta : float, default 0.0
        What a loss has to be better by to count.
    higher_is_better : bool, default False
        For scores such as accuracy.

    Raises
    ------
    ValueError
        A number is out of its range.

    References
    ----------
    .. [1] Prechelt, L., "Early Stopping - But When?", 1998.

    Examples
    --------
    >>> from regard.nn.training import EarlyStopping
    >>> stopping = EarlyStopping(patience=2)
    >>> state = stopping.init()
    >>> for loss in (2.0, 1.5, 1.7, 1.6):
    ...     state = stopping.update(state, loss)
    ...     print(loss, state["improved"], state["stop"])
    2.0 True False
    1.5 True False
    1.7 False False
    1.6 False True
    """

    patience: int
    min_delta: float = 0.0
    higher_is_better: bool = False

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"EarlyStopping: patience has to be at least 1, not {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta has to be at least 0, not {self.min_delta}")

    def init(self) -> dict[str, Any]:
        """State before the first evaluation.

        Returns
        -------
        dict
            ``best``, the best loss; ``evaluations`` so far; ``since``, those since the best;
            ``improved``, whether the last was the best, which is when to keep the parameters;
            ``stop``.
        """
        worst = -math.inf if self.higher_is_better else math.inf
        return {"best": worst, "evaluations": 0, "since": 0, "improved": False, "stop": False}

    def update(self, state: dict[str, Any], loss: float) -> dict[str, Any]:
        """Take note of an evaluation.

        Parameters
        ----------
        state : dict
            What `init` or the last `update` returned; it stays as it is.
        loss : float
            NaN is never better.

        Returns
        -------
        dict
        """
        best = state["best"]
        gain = loss - best if self.higher_is_better else best - loss
        improved = bool(gain > self.min_delta)
        since = 0 if improved else state["since"] + 1
        return {
            "best": float(loss) if improved else best,
            "evaluations": state["evaluations"] + 1,
            "since": since,
            "improved": improved,
            "stop": since >= self.patience,
        }
