"""``attention_weights``: rows of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regard._call.messages import in_the_name_of
from regard._call.scores import Selection, weights

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Unpack

    from regard._call.types import ScoreOptions


@in_the_name_of("attention_weights")
def attention_weights(
    query: ArrayLike,
    key: ArrayLike,
    *,
    rows: Selection = None,
    keys: Selection = None,
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
    **options
        Those of `regard.attention` that concern scores.

    Returns
    -------
    ndarray, shape (..., Hq, rows, keys)
        ``softmax(scores)``, float64 for float64, else float32; 0 where masked. Dropout takes no
        part.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention` does; also for numbers of rows or keys that do not exist.

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
    """
    return weights(query, key, rows, keys, {**options})
