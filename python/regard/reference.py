"""Attention by its definition, in float64 NumPy: the oracle every kernel is checked against.

::

    S   = scale · Q Kᵀ + bias                       scores     (..., Hq, Sq, Sk)
    P   = softmax of S over the keys a query sees   weights    (..., Hq, Sq, Sk)
    O   = P V                                       output     (..., Hq, Sq, Dv)
    LSE = log Σ exp(S) over the same keys           log-sum-exp (..., Hq, Sq)

Every matrix above is held whole, so memory grows with Sq x Sk. That is what ``regard.attention``
avoids, and what makes this page short enough to be read as the meaning of every option.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["attention", "scores", "visible", "weights"]

Array: TypeAlias = NDArray[np.float64]
Causal: TypeAlias = bool | Literal["lower_right", "upper_left"]
Window: TypeAlias = int | tuple[int | None, int | None] | None


# fmt: off
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, *, causal: Causal = False,
    window: Window = None, mask: ArrayLike | None = None, bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None, scale: float | None = None,
    return_lse: Literal[False] = False, out: NDArray[Any] | None = None,
    num_threads: int | None = None) -> NDArray[Any]: ...
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, *, causal: Causal = False,
    window: Window = None, mask: ArrayLike | None = None, bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None, scale: float | None = None,
    return_lse: Literal[True], out: NDArray[Any] | None = None,
    num_threads: int | None = None) -> tuple[NDArray[Any], Array]: ...
# fmt: on
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
) -> NDArray[Any] | tuple[NDArray[Any], Array]:
    """Softmax attention with the signature of :func:`regard.attention`, computed in float64.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D), (Sq, D) or (D,)
    key : array_like, shape (..., Hkv, Sk, D) or (Sk, D)
    value : array_like, shape (..., Hkv, Sk, Dv) or (Sk, Dv)
        Hq must be a multiple of Hkv. The leading axes broadcast.
    causal, window, mask, key_lengths
        Which keys a query sees; see :func:`visible`.
    bias, scale
        What is added to the scores and multiplies them; see :func:`scores`.
    return_lse : bool
        Also return the natural logarithm of each row's softmax denominator.
    out : ndarray, optional
        Where to write the output, rounded to its dtype.
    num_threads : int, optional
        Accepted for the signature's sake and ignored.

    Returns
    -------
    output : ndarray of float64, shape (..., Hq, Sq, Dv), (Sq, Dv) or (Dv,); or ``out``
    lse : ndarray of float64, shape (..., Hq, Sq), (Sq,) or ()
        Only with ``return_lse=True``. A query that sees no key has output 0 and LSE -inf.

    References
    ----------
    Vaswani et al., "Attention is all you need", 2017, equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> x = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    >>> reference.attention(x, x, x, scale=1.0).round(3)
    array([[0.731, 0.5  ],
           [0.5  , 0.731],
           [0.731, 0.731],
           [0.5  , 0.5  ]])
    """
    q, k, v = _with_heads(query), _with_heads(key), _with_heads(value)
    batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
    sees = visible(
        (*batch, *q.shape[-3:-1], k.shape[-2]),
        causal=causal, window=window, mask=mask, bias=bias, key_lengths=key_lengths,
    )  # fmt: skip
    p, lse = _softmax(scores(q, k, batch=batch, bias=bias, scale=scale), sees)
    o = _weighted_sum(p, _per_query_head(v, q.shape[-3]), sees)

    if np.ndim(query) == 1:
        o, lse = o[..., 0, :], lse[..., 0]
    if max(np.ndim(query), np.ndim(key), np.ndim(value)) == 2:
        o, lse = o[0], lse[0]
    if out is not None:
        out[...] = o
    result = o if out is None else out
    return (result, lse) if return_lse else result


def weights(
    query: ArrayLike,
    key: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    scale: float | None = None,
    **masks: Any,
) -> Array:
    """Compute the weights P: how much of each value goes into each query's output.

    Parameters
    ----------
    query, key, bias, scale
        As for :func:`attention`.
    **masks
        ``causal``, ``window``, ``mask`` and ``key_lengths``, as for :func:`attention`.

    Returns
    -------
    ndarray of float64, shape (..., Hq, Sq, Sk), (Sq, Sk) or (Sk,)
        Each row sums to one, or is all zeros where the query sees no key.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> x = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    >>> reference.weights(x, x, causal=True, scale=1.0).round(3)
    array([[1.   , 0.   , 0.   , 0.   ],
           [0.269, 0.731, 0.   , 0.   ],
           [0.212, 0.212, 0.576, 0.   ],
           [0.25 , 0.25 , 0.25 , 0.25 ]])
    """
    s = scores(query, key, bias=bias, scale=scale)
    p, _ = _softmax(s, visible(s.shape, bias=bias, **masks))
    if np.ndim(query) == 1:
        p = p[..., 0, :]
    return p[0] if max(np.ndim(query), np.ndim(key)) == 2 else p


def visible(
    shape: Sequence[int],
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    key_lengths: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Tell which keys each query sees: every rule below must allow the pair.

    Parameters
    ----------
    shape : sequence of int
        (..., Hq, Sq, Sk).
    causal : bool, "lower_right" or "upper_left"
        Key j is seen from position p if j <= p. The position of query i is p = i + Sk - Sq, so
        that the last query sees the last key; with ``"upper_left"`` it is p = i.
    window : int, (left, right) or None
        p - left <= j <= p + right. None on a side leaves that side open; w means (w, w).
    mask : array_like of bool, broadcast to `shape`
        True where the query may look.
    bias : array_like of float, broadcast to `shape`
        -inf masks.
    key_lengths : array_like of int, broadcast to the batch axes of `shape`
        How many leading keys count; takes the place of Sk in p above.

    Returns
    -------
    ndarray of bool, broadcastable to `shape`

    Examples
    --------
    >>> from regard import reference
    >>> reference.visible((1, 2, 3), causal=True)
    array([[ True,  True, False],
           [ True,  True,  True]])
    """
    if causal not in (False, True, "lower_right", "upper_left"):
        raise ValueError(f"causal must be a bool, 'lower_right' or 'upper_left', not {causal!r}")
    *batch, _, queries, keys = shape
    length: Any = keys
    if key_lengths is not None:
        length = np.broadcast_to(np.asarray(key_lengths, dtype=np.int64), batch)
        length = length[..., np.newaxis, np.newaxis, np.newaxis]
    offset = 0 if causal == "upper_left" else length - queries
    j = np.arange(keys)
    p = np.arange(queries)[:, np.newaxis] + offset

    sees: NDArray[np.bool_] = (j < length) & np.ones((queries, 1), dtype=np.bool_)
    if causal:
        sees = sees & (j <= p)
    if window is not None:
        left, right = window if isinstance(window, (tuple, list)) else (window, window)
        if left is not None:
            sees = sees & (p - left <= j)
        if right is not None:
            sees = sees & (j <= p + right)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != np.bool_:
            raise TypeError(f"mask must be bool, not {mask.dtype}")
        sees = sees & np.broadcast_to(mask, shape)
    if bias is not None:
        sees = sees & (np.broadcast_to(bias, shape) != -np.inf)
    return sees


def scores(
    query: ArrayLike,
    key: ArrayLike,
    *,
    batch: tuple[int, ...] | None = None,
    bias: ArrayLike | None = None,
    scale: float | None = None,
) -> Array:
    """Compute the scores S = scale · Q Kᵀ + bias of every pair, seen or not.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
        Query head h is scored against kv head h // (Hq // Hkv).
    batch : tuple of int, optional
        Batch axes of the result; those of query and key, broadcast, if not given.
    bias : array_like of float, broadcast to (..., Hq, Sq, Sk)
    scale : float, optional
        1 / sqrt(D) if not given.

    Returns
    -------
    ndarray of float64, shape (..., Hq, Sq, Sk)

    Examples
    --------
    >>> from regard import reference
    >>> reference.scores([[[3.0, 4.0]]], [[[1.0, 0.0], [0.0, 2.0]]], scale=0.5)
    array([[[1.5, 4. ]]])
    """
    q, k = _with_heads(query), _with_heads(key)
    if q.shape[-1] != k.shape[-1] or q.shape[-1] == 0:
        raise ValueError(f"query and key need one head_dim > 0: {q.shape}, {k.shape}")
    if scale is None:
        scale = 1 / np.sqrt(q.shape[-1])
    if batch is None:
        batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3])
    q = np.broadcast_to(q, (*batch, *q.shape[-3:]))
    k = _per_query_head(k, q.shape[-3])
    with np.errstate(all="ignore"):  # NaN and Inf are legal here; masks may yet discard them
        s: Array = q @ k.swapaxes(-1, -2)
        s *= scale
        if bias is not None:
            s += np.broadcast_to(np.asarray(bias, dtype=np.float64), s.shape)
    return s


def _softmax(s: Array, sees: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Softmax over the keys seen, and its log-sum-exp. Overwrites `s`: it is the largest array."""
    hidden = np.broadcast_to(~sees, s.shape)
    np.copyto(s, -np.inf, where=hidden)
    with np.errstate(all="ignore"):
        m = s.max(axis=-1, keepdims=True, initial=-np.inf)
        # Any finite maximum serves a row that sees nothing; -inf - -inf would make it NaN.
        m[hidden.all(axis=-1, keepdims=True)] = 0
        s -= m
        p = np.exp(s, out=s)
        z = p.sum(axis=-1, keepdims=True)
        lse = (m + np.log(z))[..., 0]
        p /= z
    # Masked weights are zero by rule, also where the row is NaN (z is) or sees nothing (0 / 0).
    np.copyto(p, 0, where=hidden)
    return p, lse


def _weighted_sum(p: Array, v: Array, sees: NDArray[np.bool_]) -> Array:
    """P V, of which a masked value takes no part, whatever it holds."""
    if np.isfinite(v).all():
        return p @ v
    # 0 * NaN is NaN: leave masked values out of the sum rather than multiply them by zero.
    sees = np.broadcast_to(sees, p.shape)
    o = np.empty((*p.shape[:-1], v.shape[-1]))
    with np.errstate(all="ignore"):
        for i in range(p.shape[-2]):
            term = p[..., i, :, np.newaxis] * v
            o[..., i, :] = term.sum(axis=-2, where=sees[..., i, :, np.newaxis])
    return o


def _per_query_head(x: Array, heads: int) -> Array:
    """Repeat each kv head for the query heads that share it."""
    kv_heads = x.shape[-3]
    if heads != kv_heads and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(f"{heads} query heads are no multiple of {kv_heads} kv heads")
    return x if heads == kv_heads else np.repeat(x, heads // kv_heads, axis=-3)


def _with_heads(x: ArrayLike) -> Array:
    """As float64, with an axis for heads, and one for the length of a lone query."""
    a = np.asarray(x, dtype=np.float64)
    return a.reshape((1,) * (3 - a.ndim) + a.shape)
