"""Scaling of rotary frequencies to contexts longer than those of training.

Pair n of the d / 2 pairs of features has the frequency ``base ** (-2 n / d)``. The classes here
change these as Hugging Face's ``modeling_rope_utils`` does, but in float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Frequencies: TypeAlias = NDArray[np.float64]


class Scaling(ABC):
    """How rotary frequencies change; what the classes here have in common."""

    @abstractmethod
    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        """Frequencies, and what multiplies the rotated features.

        Parameters
        ----------
        base : float
        dim : int
            Number of rotated features.

        Returns
        -------
        frequencies : ndarray of float64, shape (dim / 2,)
        attention_factor : float

        Raises
        ------
        ValueError
            The parameters do not suit base and dim.
        """


@dataclass(frozen=True)
class Linear(Scaling):
    """Position interpolation: all positions are divided by `factor`.

    Parameters
    ----------
    factor : float
        How many times longer than in training the context is.

    References
    ----------
    .. [1] Chen, S. et al., "Extending Context Window of Large Language Models via Positional
       Interpolation", 2023.

    Examples
    --------
    >>> import regard
    >>> regard.positions.Linear(4.0).frequencies(10000.0, 4)
    (array([0.25  , 0.0025]), 1.0)
    """

    factor: float

    def __post_init__(self) -> None:
        _at_least_one(self.factor, "Linear: factor")

    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        return unscaled(base, dim) / self.factor, 1.0


@dataclass(frozen=True)
class NTK(Scaling):
    """NTK-aware scaling: the base grows so that the slowest pair is slowed by `factor`.

    Parameters
    ----------
    factor : float
        How many times longer than in training the context is.

    References
    ----------
    .. [1] Peng, B. et al., "YaRN: Efficient Context Window Extension of Large Language Models",
       2023, section 3.1.

    Examples
    --------
    >>> import regard
    >>> regard.positions.NTK(4.0).frequencies(10000.0, 4)
    (array([1.    , 0.0025]), 1.0)
    """

    factor: float

    def __post_init__(self) -> None:
        _at_least_one(self.factor, "NTK: factor")

    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        return _ntk(base, dim, self.factor), 1.0


@dataclass(frozen=True)
class DynamicNTK(Scaling):
    """NTK-aware scaling by what the length at hand needs, as Hugging Face's "dynamic".

    Parameters
    ----------
    factor : float
        How strongly the base grows with the length.
    original_length : int
        Length of the contexts in training; up to it, nothing changes.
    length : int
        Length at hand.

    References
    ----------
    .. [1] Peng, B. et al., "YaRN: Efficient Context Window Extension of Large Language Models",
       2023, section 3.3.

    Examples
    --------
    >>> import regard
    >>> regard.positions.DynamicNTK(2.0, original_length=2048, length=4096).frequencies(10000.0, 4)
    (array([1.        , 0.00333333]), 1.0)
    """

    factor: float
    original_length: int
    length: int

    def __post_init__(self) -> None:
        _at_least_one(self.factor, "DynamicNTK: factor")
        _at_least_one(self.original_length, "DynamicNTK: original_length")

    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        longer = max(self.length, self.original_length) / self.original_length
        return _ntk(base, dim, self.factor * longer - (self.factor - 1)), 1.0


@dataclass(frozen=True)
class YaRN(Scaling):
    """YaRN: slow pairs are interpolated, fast ones kept, and attention is sharpened.

    Parameters
    ----------
    factor : float
        How many times longer than in training the context is.
    original_length : int
        Length of the contexts in training.
    beta_fast, beta_slow : float, default 32 and 1
        Pairs that turn more often than beta_fast within original_length keep their frequency,
        those that turn less often than beta_slow are divided by factor; a ramp lies between.
    attention_factor : float, optional
        Multiplies the rotated features; default ``0.1 * log(factor) + 1``.
    truncate : bool, default True
        Round the ends of the ramp to whole pairs.

    References
    ----------
    .. [1] Peng, B. et al., "YaRN: Efficient Context Window Extension of Large Language Models",
       2023, section 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> frequencies, factor = regard.positions.YaRN(4.0, 2048).frequencies(10000.0, 16)
    >>> (frequencies * 10000.0 ** (np.arange(8) / 8)).round(3)  # what each is multiplied by
    array([1.   , 1.   , 1.   , 0.812, 0.625, 0.438, 0.25 , 0.25 ])
    >>> round(factor, 4)
    1.1386
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        _at_least_one(self.factor, "YaRN: factor")
        _at_least_one(self.original_length, "YaRN: original_length")
        if not 0 < self.beta_slow <= self.beta_fast:
            raise ValueError(
                f"YaRN: beta_fast is {self.beta_fast}, beta_slow {self.beta_slow}.\n"
                "  Give 0 < beta_slow <= beta_fast."
            )

    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        def pair_that_turns(times: float) -> float:
            wavelength = self.original_length / (2 * math.pi * times)
            return dim * math.log(wavelength) / (2 * math.log(base))

        low, high = pair_that_turns(self.beta_fast), pair_that_turns(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        if low == high:
            high += 0.001  # a step, as Hugging Face makes it
        ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
        kept = unscaled(base, dim)
        factor = self.attention_factor
        if factor is None:
            factor = 0.1 * math.log(self.factor) + 1.0
        return kept / self.factor * ramp + kept * (1 - ramp), factor


@dataclass(frozen=True)
class Llama3(Scaling):
    """The scaling of Llama 3.1: slow pairs are interpolated, fast ones kept.

    Parameters
    ----------
    factor : float, default 8
        What the frequencies of slow pairs are divided by.
    low_freq_factor, high_freq_factor : float, default 1 and 4
        Pairs that turn less often than low_freq_factor within original_length are slow, those that
        turn more often than high_freq_factor fast; between, the frequency is interpolated.
    original_length : int, default 8192
        Length of the contexts in training.

    References
    ----------
    .. [1] Grattafiori, A. et al., "The Llama 3 Herd of Models", 2024.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> frequencies, _ = regard.positions.Llama3().frequencies(500000.0, 16)
    >>> (frequencies * 500000.0 ** (np.arange(8) / 8)).round(3)  # what each is multiplied by
    array([1.   , 1.   , 1.   , 1.   , 0.371, 0.125, 0.125, 0.125])
    """

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192

    def __post_init__(self) -> None:
        _at_least_one(self.factor, "Llama3: factor")
        _at_least_one(self.original_length, "Llama3: original_length")
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"Llama3: low_freq_factor is {self.low_freq_factor}, high_freq_factor "
                f"{self.high_freq_factor}.\n  Give 0 < low_freq_factor < high_freq_factor."
            )

    def frequencies(self, base: float, dim: int) -> tuple[Frequencies, float]:
        kept = unscaled(base, dim)
        turns = self.original_length * kept / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        smooth = np.clip((turns - self.low_freq_factor) / span, 0, 1)
        return (1 - smooth) * kept / self.factor + smooth * kept, 1.0


def unscaled(base: float, dim: int) -> Frequencies:
    """Compute the frequencies of the original embedding; (dim / 2,)."""
    powers: Frequencies = np.arange(0, dim, 2) / dim
    return 1.0 / base**powers


def _ntk(base: float, dim: int, factor: float) -> Frequencies:
    if dim == 2:
        raise ValueError("NTK: one pair of features has no slower pair.\n  Rotate 4 or more.")
    return unscaled(base * factor ** (dim / (dim - 2)), dim)


def _at_least_one(value: float, what: str) -> None:
    if not 1 <= value < math.inf:
        raise ValueError(f"{what} is {value}.\n  Give 1 or more.")
