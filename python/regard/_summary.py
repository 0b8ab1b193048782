"""``attention_summary``: what can be said of all weights without keeping them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard._call.messages import in_the_name_of
from regard._call.scores import summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack

    from regard._call.types import ScoreOptions


@dataclass(frozen=True)
class AttentionSummary:
    """What can be said of attention weights without keeping them.

    Attributes
    ----------
    lse : ndarray, shape (..., Hq, Sq)
        Logarithm of the softmax denominators.
    entropy : ndarray, shape (..., Hq, Sq)
        ``-sum(p * log(p))`` of each row, in nats: 0 for a row that looks at one key only,
        ``log(n)`` for one that looks at n keys alike.
    row_max : ndarray, shape (..., Hq, Sq)
        The largest weight of each row.
    top_indices, top_weights : ndarray, shape (..., Hq, Sq, top_k)
        The keys of the largest weights of each row, and the weights, largest first; equal ones in
        the order of the keys. -1 and 0 where a row sees fewer keys.
    column_sums : ndarray of float64, shape (..., Hq, Sk)
        The attention that each key receives, summed over the queries.
    pooled : ndarray of float64, shape (..., Hq, R, C)
        A map of all weights: sums over the keys and means over the queries of a cell. Cell (a, b)
        begins at query ``a * Sq // R`` and key ``b * Sk // C``. Rows sum to one.
    """

    lse: NDArray[Any]
    entropy: NDArray[Any]
    row_max: NDArray[Any]
    top_indices: NDArray[np.int64]
    top_weights: NDArray[Any]
    column_sums: NDArray[np.float64]
    pooled: NDArray[np.float64]


@in_the_name_of("attention_summary")
def attention_summary(
    query: ArrayLike,
    key: ArrayLike,
    *,
    top_k: int = 8,
    pooled: tuple[int, int] = (128, 128),
    **options: Unpack[ScoreOptions],
) -> AttentionSummary:
    """Look at all attention weights, in memory linear in the length.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
        As in `regard.attention`.
    top_k : int, default 8
        How many of the largest weights of each row to return.
    pooled : (int, int), default (128, 128)
        Rows and columns of the map, at most as many as queries and keys.
    **options
        Those of `regard.attention` that concern scores.

    Returns
    -------
    AttentionSummary

    Raises
    ------
    ValueError, TypeError
        As `regard.attention` does.

    See Also
    --------
    attention_weights : Chosen rows of the weights themselves.
    regard.plot.summary : Draws all of it.
    regard.plot.heads : Draws the map of each head.

    Notes
    -----
    Scores are computed twice, once for the softmax denominators and once for the weights, and
    values not at all. The result is bitwise the same for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> words = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    >>> summary = regard.attention_summary(words, words, scale=1.0, top_k=1)
    >>> summary.column_sums.round(3)
    array([0.947, 0.947, 1.516, 0.591])
    >>> summary.top_indices[:, 0]
    array([0, 1, 2, 0])
    """
    fields = summary(query, key, top_k, pooled, {**options})
    return AttentionSummary(**fields)
