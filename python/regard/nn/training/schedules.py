"""Learning rates by step: a schedule is called with the number of steps taken, from 0 on.

Each is a small value without state, so a training that goes on needs nothing but its step. ``rate``
is the highest; over the first ``warmup`` steps it rises in a line, from 0 in step 0, as in the
schedules of transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Constant", "Cosine", "InverseSquareRoot", "Linear", "Step"]


@dataclass(frozen=True)
class Constant:
    """The same rate in every step after the warm-up.

    ``rate * min(1, step / warmup)``, as in `transformers.get_constant_schedule_with_warmup`.

    Parameters
    ----------
    rate : float
        At least 0.
    warmup : int, default 0
        Steps of the rise.

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from regard.nn.training import schedules
    >>> schedule = schedules.Constant(1.0, warmup=4)
    >>> [schedule(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    rate: float
    warmup: int = 0

    def __post_init__(self) -> None:
        _check("Constant", self.rate, self.warmup)

    def __call__(self, step: int) -> float:
        """Rate of a step."""
        return self.rate * _rise(step, self.warmup)


@dataclass(frozen=True)
class Linear:
    """A line down to 0 at the last step, as in `transformers.get_linear_schedule_with_warmup`.

    Parameters
    ----------
    rate : float
        At least 0.
    steps : int
        Length of the run, warm-up included; the rate is 0 from there on.
    warmup : int, default 0

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from regard.nn.training import schedules
    >>> schedule = schedules.Linear(1.0, steps=6, warmup=2)
    >>> [schedule(step) for step in range(7)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    rate: float
    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        _check("Linear", self.rate, self.warmup, self.steps)

    def __call__(self, step: int) -> float:
        """Rate of a step."""
        return self.rate * _rise(step, self.warmup) * (1 - _done(step, self.warmup, self.steps))


@dataclass(frozen=True)
class Cosine:
    """Half a period of a cosine [1]_, from the highest rate down to the lowest.

    As `transformers.get_cosine_schedule_with_warmup`, and without a warm-up as
    `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Parameters
    ----------
    rate : float
        At least 0.
    steps : int
        Length of the run, warm-up included; the rate is the lowest from there on.
    warmup : int, default 0
    lowest : float, default 0.0
        Rate at the end, at most the highest.

    Raises
    ------
    ValueError
        A number is out of its range.

    References
    ----------
    .. [1] Loshchilov, I. and Hutter, F., "SGDR: Stochastic Gradient Descent with Warm Restarts",
       2017.

    Examples
    --------
    >>> from regard.nn.training import schedules
    >>> schedule = schedules.Cosine(1.0, steps=4, lowest=0.2)
    >>> [round(schedule(step), 3) for step in range(5)]
    [1.0, 0.883, 0.6, 0.317, 0.2]
    """

    rate: float
    steps: int
    warmup: int = 0
    lowest: float = 0.0

    def __post_init__(self) -> None:
        _check("Cosine", self.rate, self.warmup, self.steps)
        if not 0 <= self.lowest <= self.rate:
            raise ValueError(f"Cosine: lowest has to be 0 to rate={self.rate}, not {self.lowest}")

    def __call__(self, step: int) -> float:
        """Rate of a step."""
        if step < self.warmup:
            return self.rate * _rise(step, self.warmup)
        done = _done(step, self.warmup, self.steps)
        return self.lowest + (self.rate - self.lowest) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class InverseSquareRoot:
    """One over the root of the step, after the warm-up: that of the Transformer paper [1]_.

    ``rate * min(step / warmup, sqrt(warmup / step))``, as in
    `transformers.get_inverse_sqrt_schedule`. The paper's steps begin with 1 and its rate is
    ``dim**-0.5 * min(step**-0.5, step * warmup**-1.5)``: the same for
    ``rate = (dim * warmup)**-0.5``, which `of_dim` sets.

    Parameters
    ----------
    rate : float
        At least 0.
    warmup : int
        At least 1.

    Raises
    ------
    ValueError
        A number is out of its range.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017, section 5.3.

    Examples
    --------
    >>> from regard.nn.training import schedules
    >>> schedule = schedules.InverseSquareRoot(1.0, warmup=4)
    >>> [schedule(step) for step in (0, 2, 4, 16)]
    [0.0, 0.5, 1.0, 0.5]
    >>> paper = schedules.InverseSquareRoot.of_dim(512, warmup=4000)
    >>> abs(paper(100) - 512**-0.5 * min(100**-0.5, 100 * 4000**-1.5)) < 1e-18
    True
    """

    rate: float
    warmup: int

    def __post_init__(self) -> None:
        _check("InverseSquareRoot", self.rate, self.warmup)
        if self.warmup < 1:
            raise ValueError(f"InverseSquareRoot: warmup has to be at least 1, not {self.warmup}")

    @classmethod
    def of_dim(cls, dim: int, warmup: int = 4000) -> InverseSquareRoot:
        """Take the paper's rate for a model of so many channels."""
        return cls((dim * warmup) ** -0.5, warmup)

    def __call__(self, step: int) -> float:
        """Rate of a step."""
        if step < self.warmup:
            return self.rate * _rise(step, self.warmup)
        return self.rate * math.sqrt(self.warmup / step)


@dataclass(frozen=True)
class Step:
    """A factor every so many steps, as `torch.optim.lr_scheduler.StepLR`.

    Parameters
    ----------
    rate : float
        At least 0.
    every : int
        Steps between two falls, at least 1.
    factor : float, default 0.1
        What is left of the rate in each, 0 to 1.

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> from regard.nn.training import schedules
    >>> schedule = schedules.Step(1.0, every=2, factor=0.5)
    >>> [schedule(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check("Step", self.rate, 0)
        if self.every < 1 or not 0 <= self.factor <= 1:
            raise ValueError(
                "Step: every has to be at least 1 and factor 0 to 1, not "
                f"{self.every} and {self.factor}"
            )

    def __call__(self, step: int) -> float:
        """Rate of a step."""
        return self.rate * float(self.factor ** (step // self.every))


def _rise(step: int, warmup: int) -> float:
    """How far the warm-up has come, 0 to 1."""
    return step / warmup if step < warmup else 1.0


def _done(step: int, warmup: int, steps: int) -> float:
    """Tell what part of the steps after the warm-up is taken, 0 to 1."""
    return min(1.0, max(0, step - warmup) / (steps - warmup))


def _check(call: str, rate: float, warmup: int, steps: int | None = None) -> None:
    if not rate >= 0:
        raise ValueError(f"{call}: rate has to be at least 0, not {rate}")
    if warmup < 0:
        raise ValueError(f"{call}: warmup has to be at least 0, not {warmup}")
    if steps is not None and steps <= warmup:
        raise ValueError(f"{call}: steps has to be more than warmup={warmup}, not {steps}")
