"""Dropout's random numbers: Philox4x32-10, a generator without a state.

Four words of 32 bits are a function of a counter and a key. The counter holds the pair's place, so
which weights are dropped does not depend on tiles, threads, or on what was computed before.

References
----------
Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._shapes import Array

# The multipliers were chosen by the authors for their avalanche; the increments of the key are the
# golden ratio and sqrt(3) - 1, to 32 bits.
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
INCREMENTS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
ROUNDS = 10
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter: ArrayLike, key: ArrayLike) -> NDArray[np.uint32]:
    """Compute four random words for each counter.

    Parameters
    ----------
    counter : array_like of int, shape (..., 4)
        Words of 32 bits.
    key : array_like of int, shape (..., 2)
        Words of 32 bits; broadcasts against the counter's leading axes.

    Returns
    -------
    ndarray of uint32, shape (..., 4)

    Examples
    --------
    >>> from regard.reference.philox import philox4x32
    >>> [f"{word:08x}" for word in philox4x32([0, 0, 0, 0], [0, 0])]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, dtype=np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, dtype=np.uint64), -1, 0)
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2  # 64 bits hold them whole
        c0, c1 = (second >> HALF) ^ c1 ^ k0, second & LOW
        c2, c3 = (first >> HALF) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + INCREMENTS[0]) & LOW, (k1 + INCREMENTS[1]) & LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def threshold(dropout: float) -> int:
    """Return T: a weight is dropped when its random word is less than T.

    Examples
    --------
    >>> from regard.reference.philox import threshold
    >>> threshold(0.25) == 2**30
    True
    """
    return min(round(dropout * 2**32), 2**32 - 1)


def factors(
    dropout: float, seed: int | None, elements: NDArray[np.int64], shape: tuple[int, int, int]
) -> Array:
    """Compute what dropout multiplies each weight by: 0, or 1 / (1 - dropout).

    Parameters
    ----------
    dropout : float
        Probability of dropping a weight, 0 <= dropout < 1.
    seed : int
        0 .. 2**64 - 1.
    elements : ndarray of int64, shape (...)
        Number of each batch element: its flat index.
    shape : tuple of int
        (Hq, Sq, Sk).

    Returns
    -------
    ndarray of float64, shape (..., Hq, Sq, Sk)
        The factor of head h, query i and key j comes from word j % 4 of the counter
        (j // 4, i, h, element) under the key (seed % 2**32, seed // 2**32).

    Examples
    --------
    >>> import numpy as np
    >>> from regard.reference.philox import factors
    >>> factors(0.5, 7, np.array([0]), (1, 2, 6))
    array([[[[2., 2., 0., 0., 0., 2.],
             [0., 0., 2., 2., 0., 0.]]]])
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}")
    if seed is None or not 0 <= seed < 2**64:
        raise ValueError(f"dropout needs a seed of 0 .. 2**64 - 1, not {seed}")
    seed, dropout = int(seed), float(dropout)  # a NumPy integer may be too short for what follows
    heads, queries, keys = shape
    quads = -(-keys // 4)
    axes = np.meshgrid(
        elements.ravel(), np.arange(heads), np.arange(queries), np.arange(quads), indexing="ij"
    )
    words = philox4x32(np.stack(axes[::-1], axis=-1), [seed & 0xFFFFFFFF, seed >> 32])
    words = words.reshape(*elements.shape, heads, queries, 4 * quads)[..., :keys]
    return np.where(words < threshold(dropout), 0, 1 / (1 - dropout))
