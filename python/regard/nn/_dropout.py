"""`Dropout`, and seeds for the dropouts inside a layer."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import as_derivative
from regard.nn._gradients import Back, LayerGradients
from regard.nn._layer import Layer

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class Dropout(Layer):
    """Numbers left out at random; the others grow by ``1 / (1 - share)`` [1]_.

    Parameters
    ----------
    share : float
        Of the numbers to leave out, 0 to 1.

    References
    ----------
    .. [1] Srivastava, N. et al., "Dropout: A Simple Way to Prevent Neural Networks from
       Overfitting", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> dropout = nn.Dropout(0.5)
    >>> dropout(np.ones(6), seed=1)
    array([0., 2., 2., 2., 0., 0.])
    >>> dropout(np.ones(6))  # no seed, as outside of training: nothing is left out
    array([1., 1., 1., 1., 1., 1.])
    """

    share: float

    def __post_init__(self) -> None:
        check_share(self.share, "Dropout")

    def __call__(self, x: ArrayLike, *, seed: int | None = None) -> Array:
        """Leave out numbers of x, of any shape, by seed; without one, none."""
        array = np.asarray(x)
        factors = self._factors(array, seed)
        return array if factors is None else array * factors

    def vjp(self, x: ArrayLike, *, seed: int | None = None) -> tuple[Array, Back]:
        """Compute the same, and return the way back: through what was kept."""
        array = np.asarray(x)
        factors = self._factors(array, seed)

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, array.shape, "Dropout", array.dtype)
            return LayerGradients(dy if factors is None else dy * factors, {})

        return (array if factors is None else array * factors), back

    def _factors(self, x: Array, seed: int | None) -> Array | None:
        if self.share == 0 or seed is None:
            return None
        kept = np.random.default_rng(seed).random(x.shape, np.float32) >= self.share
        factors: Array = kept * x.dtype.type(0 if self.share == 1 else 1 / (1 - self.share))
        return factors


def check_share(share: float, layer: str) -> None:
    """Refuse a share of numbers to leave out that is none.

    Raises
    ------
    ValueError
        It is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{layer}: dropout is {share}.\n  Give the share to leave out, 0 to 1.")


def seed_of(seed: int | None, part: int) -> int | None:
    """Derive the seed of one part of a layer from the layer's own; none of none.

    Raises
    ------
    TypeError, ValueError
        The seed is not a whole number from 0.
    """
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"dropout: seed is {seed!r}.\n  Give an integer from 0.")
    if seed < 0:
        raise ValueError(f"dropout: seed is {seed}.\n  Give an integer from 0.")
    derived = np.random.SeedSequence((int(seed), part)).generate_state(1, np.uint64)
    return int(derived[0])
