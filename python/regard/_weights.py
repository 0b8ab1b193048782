"""``attention_weights``: rows of the weights, or of the scores they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regard._call.messages import in_the_name_of
from regard._call.scores import Selection, weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack

    from regard._call.types import ScoreOptions, Stage


@in_the_name_of("attention_weights")
def attention_weights(
    query: ArrayLike,
    key: ArrayLike,
    *,
    rows: Selection = None,
    keys: Selection = None,
    stage: Stage = "weights",
    **options: Unpack[ScoreOptions],
) -> NDArray[Any]:
    """Rows of the attention weights, of all keys or some of them.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
        As in `regard.attention`.
    rows : slice or array_like of int, optional
        Which queries; all of them if not given.
    keys : slice or array_like of int, optional
        Which columns to return. The softmax is over all keys.
    stage : {"weights", "masked", "softcapped", "scaled"}
        What to return instead of the weights, going back: the scores that the softmax is given,
        with all that is added to them, -inf where masked; the scores after the softcap, when
        nothing is added or masked yet; or those before it, scaled products of queries and keys.
    **options
        Those of `regard.attention` that concern scores.

    Returns
    -------
    ndarray, shape (..., Hq, rows, keys)
        ``softmax(scores)``, float64 for float64, else float32; 0 where masked. Dropout takes no
        part. Scores of earlier stages are those of all pairs, seen or not; only rows past
        query_lengths and key_lengths, whose memory is not read, are -inf at each of them.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention` does; also for numbers of rows or keys that do not exist, and other
        stages.

    See Also
    --------
    attention_summary : Facts about all weights, in memory linear in the length.

    Examples
    --------
    The last query of a long sequence, without the other rows:

    >>> import numpy as np
    >>> import regard
    >>> query, key = np.random.default_rng(0).standard_normal((2, 8, 5000, 64), dtype=np.float32)
    >>> last = regard.attention_weights(query, key, rows=[-1], causal=True)
    >>> last.shape, last.sum(axis=-1).round(5).min()
    ((8, 1, 5000), np.float32(1.0))

    What the softmax is given for the first queries:

    >>> regard.attention_weights(np.eye(3), np.eye(3), causal=True, scale=2.0, stage="masked")
    array([[  2., -inf, -inf],
           [  0.,   2., -inf],
           [  0.,   0.,   2.]])
    """
    return weights(query, key, rows, keys, {**options}, stage)
