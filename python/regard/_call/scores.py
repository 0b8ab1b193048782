"""Looking at the weights of attention without the memory that all of them would take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import coerce
from regard._call.conversions import check_names, core_options

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]

# A slice, or numbers of rows or keys (negative ones count from the end).
Selection: TypeAlias = "slice | ArrayLike | None"


def attention_weights(
    query: ArrayLike,
    key: ArrayLike,
    *,
    rows: Selection = None,
    keys: Selection = None,
    **options: Any,
) -> Array:
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
        ``softmax(scores)``, in the dtype of query; 0 where masked. Dropout takes no part.

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
    q, k, core = _call("attention_weights", query, key, options)
    row_numbers = _numbers("rows", rows, q.shape[-2] if q.ndim > 1 else 1)
    key_numbers = _numbers("keys", keys, _count_keys(k, core))
    first, last = 0, 0
    if key_numbers.size:
        first, last = int(key_numbers.min()), int(key_numbers.max()) + 1
    weights = _core.weights(q, k, core or None, row_numbers.tolist(), first, last)
    if key_numbers.size != last - first or (np.diff(key_numbers) != 1).any():
        weights = weights[..., key_numbers - first]
    return _as_called(weights, q, k, core, length=True)


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

    lse: Array
    entropy: Array
    row_max: Array
    top_indices: NDArray[np.int64]
    top_weights: Array
    column_sums: NDArray[np.float64]
    pooled: NDArray[np.float64]


def attention_summary(
    query: ArrayLike,
    key: ArrayLike,
    *,
    top_k: int = 8,
    pooled: tuple[int, int] = (128, 128),
    **options: Any,
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
    regard.plot.heatmap : Draws the map.

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
    q, k, core = _call("attention_summary", query, key, options)
    cells = tuple(pooled) if isinstance(pooled, (tuple, list)) else ()
    if len(cells) != 2 or not all(_is_count(n, 1) for n in cells):
        raise ValueError(
            f"attention: pooled is {pooled!r}.\n  Give the (rows, columns) of the map, each at "
            f"least 1 and at most {_MOST}; more than queries and keys are not used."
        )
    if not _is_count(top_k, 0):
        raise ValueError(
            f"attention: top_k is {top_k!r}.\n  Give a number of keys from 0 to {_MOST}; there are "
            f"{_count_keys(k, core)}."
        )
    fields = _core.summary(q, k, core or None, int(top_k), int(cells[0]), int(cells[1]))
    length = {"column_sums": False, "pooled": False}
    return AttentionSummary(
        **{
            name: _as_called(array, q, k, core, length=length.get(name, True))
            for name, array in fields.items()
        }
    )


_MOST = 2**24  # a row's best keys are kept in scratch memory


def _is_count(n: Any, least: int) -> bool:
    whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    return whole and least <= int(n) <= _MOST


def _call(
    function: str, query: ArrayLike, key: ArrayLike, options: dict[str, Any]
) -> tuple[Array, Array, dict[str, Any]]:
    """Arrays and options as the core takes them, which is given the keys in place of values."""
    for name in ("return_lse", "out", "dropout", "seed", "value_scales"):
        if name in options:
            raise TypeError(
                f"attention: {name} does not concern the scores.\n  Leave it out: these are the "
                "weights before dropout."
            )
    check_names(function, options)
    q = coerce(query, "query", "input")
    core = core_options(q, **options)
    if "block_table" in core:
        core["block_table"] = coerce(core["block_table"], "block_table", "lengths")
    if "key_scales" not in core:
        return q, coerce(key, "key", "input"), core
    core["value_scales"] = core["key_scales"]
    return q, coerce(key, "key", "stored"), core


def _count_keys(key: Array, core: dict[str, Any]) -> int:
    """Sk: in pages, as many as their blocks have room for."""
    if "block_table" in core and key.ndim > 1:
        return int(math.prod(core["block_table"].shape[-1:]) * key.shape[1])
    return int(key.shape[-2]) if key.ndim > 1 else 0


def _numbers(argument: str, selection: Any, length: int) -> NDArray[np.int64]:
    if selection is None:
        return np.arange(length)
    if isinstance(selection, slice):
        return np.arange(length)[selection]
    numbers = np.asarray(selection)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1:
        raise TypeError(
            f"attention: {argument} has dtype {numbers.dtype}, shape {numbers.shape}.\n  Give a "
            "slice, or whole numbers."
        )
    numbers = np.atleast_1d(numbers).astype(np.int64)
    if numbers.min() < -length or numbers.max() >= length:
        raise ValueError(
            f"attention: {argument} holds {numbers.min()} .. {numbers.max()}, outside the length "
            f"{length}.\n  Give numbers from {-length} to {length - 1}."
        )
    return np.where(numbers < 0, numbers + length, numbers)


def _as_called(
    array: Array, query: Array, key: Array, core: dict[str, Any], *, length: bool
) -> Array:
    """From (batch, heads, ...) to the axes that query and key came with."""
    of_keys = core["block_table"].shape[:-1] if "block_table" in core else key.shape[:-3]
    batch = np.broadcast_shapes(query.shape[:-3], of_keys)
    array = array.reshape(*batch, *array.shape[1:])
    if query.ndim == 1 and length:
        array = array[..., 0, :] if array.ndim > len(batch) + 2 else array[..., 0]
    return array[0] if max(query.ndim, key.ndim) == 2 else array
