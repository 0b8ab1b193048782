"""The order of examples and the seeds of dropout, as functions of a seed and a step.

There is no generator whose state could be lost: a training that goes on from step n draws what it
would have drawn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def step_seed(seed: int, step: int) -> int:
    """Seed for the dropout of one step.

    Parameters
    ----------
    seed : int
        Of the training, at least 0.
    step : int
        At least 0.

    Returns
    -------
    int
        0 .. 2**64 - 1, by NumPy's `SeedSequence`; another one for every seed and step.

    Examples
    --------
    >>> from regard.nn.training import step_seed
    >>> step_seed(0, 1) == step_seed(0, 1), step_seed(0, 1) == step_seed(0, 2)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Batches:
    """Which examples are in the batch of each step, every epoch in an order of its own.

    Parameters
    ----------
    examples : int
        How many there are.
    batch : int
        Examples of a step, at most all. What is left at the end of an epoch is left out of it.
    seed : int, default 0

    Raises
    ------
    ValueError
        There are fewer examples than a batch has, or none.

    Examples
    --------
    >>> from regard.nn.training import Batches
    >>> batches = Batches(examples=7, batch=3, seed=0)
    >>> batches.steps_per_epoch
    2
    >>> first, second = batches(0), batches(1)  # indices of examples
    >>> first.shape, len({*first.tolist(), *second.tolist()})
    ((3,), 6)
    """

    examples: int
    batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.examples:
            raise ValueError(
                f"Batches: batch has to be 1 to examples={self.examples}, not {self.batch}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Steps that go through all examples once."""
        return self.examples // self.batch

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the examples of a step, shape (batch,)."""
        epoch, at = divmod(step, self.steps_per_epoch)
        order = _order(self.examples, self.seed, epoch)
        return order[at * self.batch : (at + 1) * self.batch]


@functools.lru_cache(maxsize=4)
def _order(examples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Shuffle the examples of an epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(examples)
    order.flags.writeable = False
    return order
