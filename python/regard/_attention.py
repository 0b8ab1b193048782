"""``attention`` and ``explain``: option parsing and documentation over the compiled core."""

from __future__ import annotations

import numbers
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import int64, window_sides

Causal: TypeAlias = "bool | Literal['lower_right', 'upper_left']"
Window: TypeAlias = "int | tuple[int | None, int | None] | None"

_CAUSAL: dict[Any, int] = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}

# causal, window left, window right, scale, num_threads, as the core takes them
_Parsed: TypeAlias = tuple[int, "int | None", "int | None", "float | None", "int | None"]


def _options(causal: Any, window: Any, scale: Any, num_threads: Any) -> _Parsed:
    """Turn the options into what the core takes."""
    try:
        kind = _CAUSAL[causal]
    except (KeyError, TypeError):
        raise ValueError(
            f"attention: causal is {causal!r}.\n  Give True or 'lower_right' (the last query sees "
            "the last key), 'upper_left' (the first query sees only the first key), or False."
        ) from None
    left, right = (None, None) if window is None else window_sides(window)
    return kind, left, right, _scale(scale), _num_threads(num_threads)


def _scale(scale: Any) -> float | None:
    if scale is None:
        return None
    if isinstance(scale, bool) or not isinstance(scale, (numbers.Real, np.floating, np.integer)):
        raise TypeError(
            f"attention: scale is a {type(scale).__name__}.\n  Give a number, or None for "
            "1 / sqrt(head_dim)."
        )
    try:
        return float(scale)
    except OverflowError:
        return float("inf")  # which the core refuses


def _num_threads(num_threads: Any) -> int | None:
    if num_threads is None:
        return None
    if isinstance(num_threads, bool) or not isinstance(num_threads, (numbers.Integral, np.integer)):
        raise TypeError(
            f"attention: num_threads is {num_threads!r}.\n  Give a whole number of at least 1, "
            "or None for OpenMP's own."
        )
    return int64(num_threads)


@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = ...,
    window: Window = ...,
    mask: ArrayLike | None = ...,
    bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ...,
    scale: float | None = ...,
    return_lse: Literal[False] = ...,
    out: NDArray[Any] | None = ...,
    num_threads: int | None = ...,
) -> NDArray[Any]: ...


@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = ...,
    window: Window = ...,
    mask: ArrayLike | None = ...,
    bias: ArrayLike | None = ...,
    key_lengths: ArrayLike | None = ...,
    scale: float | None = ...,
    return_lse: Literal[True],
    out: NDArray[Any] | None = ...,
    num_threads: int | None = ...,
) -> tuple[NDArray[Any], NDArray[Any]]: ...


def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None,
    scale: float | None = None,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    r"""Exact scaled dot-product attention.

    Computes ``softmax(scale * query @ key.T + bias, where visible) @ value`` for every batch
    element and head, tile by tile: nothing of size (queries, keys) is ever allocated.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
        float32 or float64. A 2-D array is one head, a 1-D array one query. Any strides.
    key : array_like, shape (..., Hkv, Sk, D)
        Same dtype. Hq must be a multiple of Hkv; query head h reads key head
        ``h // (Hq // Hkv)`` (grouped-query attention). Leading axes broadcast as in NumPy.
    value : array_like, shape (..., Hkv, Sk, Dv)
        Same dtype. Dv may differ from D.
    causal : {False, True, "lower_right", "upper_left"}, default False
        True and "lower_right" let query i see the keys ``j <= i + Sk - Sq``, so that the last
        query sees the last key; "upper_left" those with ``j <= i``.
    window : int or (left, right), optional
        Query i at position p sees ``p - left <= j <= p + right``; None on a side is no limit.
        One number counts for both sides. p is i, plus ``Sk - Sq`` unless causal is "upper_left".
    mask : array_like of bool, optional
        True = attend. Broadcasts to (..., Hq, Sq, Sk); broadcast axes are never expanded.
    bias : array_like, optional
        Added to the scaled scores, in the dtype of query. Broadcasts like mask; -inf masks.
    key_lengths : array_like of int, optional
        How many leading keys of each batch element count. Broadcasts to the batch axes.
        Positions for causal and window then count from the element's own length; for a batch
        padded on the right in queries and keys alike, causal="upper_left" is what is meant.
    scale : float, optional
        Factor of the scores; default ``1 / sqrt(D)``. Any finite number.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators.
    out : ndarray, shape (..., Hq, Sq, Dv), optional
        Written in place; any strides, but no memory in common with the inputs.
    num_threads : int, optional
        Default: OpenMP's own number; small calls stay on one thread. The result is bitwise the
        same for every number.

    Returns
    -------
    out : ndarray, shape (..., Hq, Sq, Dv)
        In the dtype of query. Queries that see no key give 0.
    lse : ndarray, shape (..., Hq, Sq)
        Only with return_lse: ``log(sum(exp(scores)))`` over the visible keys, -inf for none.

    Raises
    ------
    ValueError
        A shape or an option does not fit; nothing has been written.
    TypeError
        An argument has a dtype or type that is not supported; nothing has been written.

    See Also
    --------
    explain : How such a call is run.
    regard.reference.attention : The definition, in float64 NumPy.

    Notes
    -----
    Masked positions never matter, whatever their memory holds. The forward pass follows the
    online softmax of [2]_ and [3]_, with the queries in the SIMD lanes.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.
    .. [2] Milakov, M. and Gimelshein, N., "Online normalizer calculation for softmax", 2018.
    .. [3] Dao, T. et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
       IO-Awareness", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> words = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])  # query, key and value at once
    >>> regard.attention(words, words, words, scale=1.0).round(4)
    array([[0.7311, 0.5   ],
           [0.5   , 0.7311],
           [0.7311, 0.7311],
           [0.5   , 0.5   ]])

    Eight query heads share two key and value heads; each query sees itself and three before it:

    >>> rng = np.random.default_rng(0)
    >>> query = rng.standard_normal((8, 100, 64), dtype=np.float32)
    >>> key, value = rng.standard_normal((2, 2, 100, 64), dtype=np.float32)
    >>> out, lse = regard.attention(query, key, value, causal=True, window=3, return_lse=True)
    >>> out.shape, lse.shape, out.dtype
    ((8, 100, 64), (8, 100), dtype('float32'))
    """
    if causal is False and window is None and scale is None and num_threads is None:
        return _core.attention(  # the plain call, without the cost of parsing
            query, key, value, 0, None, None, mask, bias, key_lengths, None, return_lse, out, None
        )
    kind, left, right, scale, num_threads = _options(causal, window, scale, num_threads)
    return _core.attention(
        query, key, value, kind, left, right, mask, bias, key_lengths, scale, return_lse, out,
        num_threads,
    )  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """How a call of `attention` is run; printed, a short table.

    Attributes
    ----------
    isa : str
        Instruction set of the kernel.
    dtype : str
        Type the call computes in and returns.
    batch, query_heads, kv_heads, queries, keys, head_dim, value_dim : int
        The problem after broadcasting.
    scale : float
        Factor of the scores.
    visible_share : float
        Share of the (query, key) pairs that causal, window and key_lengths leave.
    query_block, key_tile : int
        Most query rows in a unit of work; keys in a tile.
    units, threads : int
        Units of work, and the threads that share them.
    scratch_bytes : int
        Working memory of one thread, whatever the length of the sequences.
    key_in_place, value_in_place : bool
        Whether keys and values are read where they lie; otherwise copied tile by tile.
    """

    isa: str
    dtype: str
    batch: int
    query_heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    value_dim: int
    scale: float
    visible_share: float
    query_block: int
    key_tile: int
    units: int
    threads: int
    scratch_bytes: int
    key_in_place: bool
    value_in_place: bool

    @property
    def kernel(self) -> str:
        """Name of the kernel, e.g. ``"forward/avx512/float32"``."""
        return f"forward/{self.isa}/{self.dtype}"

    def __str__(self) -> str:
        rows = {"kernel": self.kernel}
        rows.update(
            (field.name, f"{value:.6g}" if isinstance(value, float) else str(value))
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None and field.name not in rows
        )
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def explain(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None,
    scale: float | None = None,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
    num_threads: int | None = None,
) -> Explanation:
    """Say how `attention` would run this call, without running it.

    Parameters
    ----------
    query, key, value, causal, window, mask, bias, key_lengths, scale, num_threads
        As in `attention`.
    return_lse, out
        Accepted so that a call can be explained as it stands; they change nothing.

    Returns
    -------
    Explanation
        Instruction set, kernel, tile sizes, units of work, threads, scratch memory.

    Raises
    ------
    ValueError, TypeError
        As `attention` would.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> x = np.zeros((8, 1000, 64), np.float32)
    >>> plan = regard.explain(x, x, x, causal=True)
    >>> plan.dtype, plan.queries, round(plan.visible_share, 4)
    ('float32', 1000, 0.5005)
    """
    del return_lse, out
    kind, left, right, scale, num_threads = _options(causal, window, scale, num_threads)
    return Explanation(
        **_core.explain(
            query, key, value, kind, left, right, mask, bias, key_lengths, scale, num_threads
        )
    )
