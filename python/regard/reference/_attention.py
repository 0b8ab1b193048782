"""The signature of :func:`regard.attention`, computed by the definition."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._layout import as_given, by_head
from regard.reference._shapes import (
    Array,
    Causal,
    DenseMask,
    PositionBias,
    ScoreFunction,
    Window,
)
from regard.reference._softmax import attend, probabilities, staged_scores
from regard.reference._stored import values, write


# fmt: off
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, *, causal: Causal = False,
    window: Window = None, mask: ArrayLike | DenseMask | None = None,
    key_mask: ArrayLike | None = None, bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreFunction | None = None,
    score_mod_gradient: ScoreFunction | None = None,
    key_lengths: ArrayLike | None = None, query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None, block_table: ArrayLike | None = None,
    key_scales: ArrayLike | None = None, value_scales: ArrayLike | None = None,
    scale: ArrayLike | None = None, query_scale: ArrayLike | None = None,
    softcap: ArrayLike | None = None,
    alibi_slopes: ArrayLike | None = None, sinks: ArrayLike | None = None,
    similarity: Literal["dot", "cosine"] = "dot", dropout: float = 0.0, seed: int | None = None,
    num_threads: int | None = None, layout: str | None = None, return_lse: Literal[False] = False,
    out: NDArray[Any] | None = None) -> NDArray[Any]: ...
@overload
def attention(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, *, causal: Causal = False,
    window: Window = None, mask: ArrayLike | DenseMask | None = None,
    key_mask: ArrayLike | None = None, bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreFunction | None = None,
    score_mod_gradient: ScoreFunction | None = None,
    key_lengths: ArrayLike | None = None, query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None, block_table: ArrayLike | None = None,
    key_scales: ArrayLike | None = None, value_scales: ArrayLike | None = None,
    scale: ArrayLike | None = None, query_scale: ArrayLike | None = None,
    softcap: ArrayLike | None = None,
    alibi_slopes: ArrayLike | None = None, sinks: ArrayLike | None = None,
    similarity: Literal["dot", "cosine"] = "dot", dropout: float = 0.0, seed: int | None = None,
    num_threads: int | None = None, layout: str | None = None, return_lse: Literal[True],
    out: NDArray[Any] | None = None) -> tuple[NDArray[Any], Array]: ...
# fmt: on
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | DenseMask | None = None,
    key_mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreFunction | None = None,
    score_mod_gradient: ScoreFunction | None = None,
    key_lengths: ArrayLike | None = None,
    query_lengths: ArrayLike | None = None,
    query_offset: ArrayLike | None = None,
    block_table: ArrayLike | None = None,
    key_scales: ArrayLike | None = None,
    value_scales: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    query_scale: ArrayLike | None = None,
    softcap: ArrayLike | None = None,
    alibi_slopes: ArrayLike | None = None,
    sinks: ArrayLike | None = None,
    similarity: Literal["dot", "cosine"] = "dot",
    dropout: float = 0.0,
    seed: int | None = None,
    num_threads: int | None = None,
    layout: str | None = None,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
) -> NDArray[Any] | tuple[NDArray[Any], Array]:
    """Softmax attention with the signature of :func:`regard.attention`, computed in float64.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D), (Sq, D) or (D,)
    key : array_like, shape (..., Hkv, Sk, D) or (Sk, D)
    value : array_like, shape (..., Hkv, Sk, Dv) or (Sk, Dv)
        Hq must be a multiple of Hkv. The leading axes broadcast. Numbers of any type, bfloat16
        included; what they stand for is taken as float64.
    causal, window, mask, key_mask, key_lengths, query_lengths, query_offset
        Which keys a query sees; see :func:`visible`. A row past its query length has output 0 and
        LSE -inf.
    block_table : array_like of int, shape (..., blocks), optional
        Key and value are pages; see :func:`stored`. Needs key_lengths.
    key_scales, value_scales : array_like of float, shape (..., Hkv, Sk), optional
        Factors of the rows of key and value; see :func:`stored`.
    bias, position_bias, score_mod, scale, query_scale, softcap, alibi_slopes, similarity
        What a score is; see :func:`scores`. A bias of -inf masks as well.
    score_mod_gradient : callable, optional
        Of no concern here; see :func:`gradients`.
    sinks : array_like of float, shape (Hq,), optional
        One more score in each row of a head, with no value: it takes a share of the weight, and is
        in the LSE. -inf is no sink.
    dropout, seed : float and int
        Each weight is dropped with this probability, by a random number that depends on the seed
        and the place of the pair alone (see :mod:`regard.reference.philox`), and those kept are
        multiplied by 1 / (1 - dropout). The LSE is that without dropout.
    num_threads : int, optional
        Accepted for the signature's sake and ignored.
    layout : str, optional
        A permutation of BHSD or HSD: the axes of query, key, value and the output, and without D of
        key_scales and value_scales.
    return_lse : bool
        Also return the natural logarithm of each row's softmax denominator.
    out : ndarray, optional
        Where to write the output, rounded to its dtype.

    Returns
    -------
    output : ndarray of float64, shape (..., Hq, Sq, Dv), (Sq, Dv) or (Dv,); or ``out``
    lse : ndarray of float64, shape (..., Hq, Sq), (Sq,) or ()
        Only with ``return_lse=True``. A query that sees no key has output 0, and LSE -inf or that
        of its sink alone.

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
    if layout is not None:
        query, key, value = (by_head(values(x), layout) for x in (query, key, value))
        key_scales, value_scales = (
            None if x is None else by_head(values(x), layout.replace("D", ""))
            for x in (key_scales, value_scales)
        )
    o, lse = attend(
        query, key, value, causal=causal, window=window, mask=mask, key_mask=key_mask, bias=bias,
        position_bias=position_bias, score_mod=score_mod, key_lengths=key_lengths,
        query_lengths=query_lengths, query_offset=query_offset, scale=scale,
        query_scale=query_scale, softcap=softcap, alibi_slopes=alibi_slopes, sinks=sinks,
        similarity=similarity, dropout=dropout, seed=seed, key_scales=key_scales,
        value_scales=value_scales, block_table=block_table,
    )  # fmt: skip
    if np.ndim(query) == 1:
        o, lse = o[..., 0, :], lse[..., 0]
    if max(np.ndim(query), np.ndim(key), np.ndim(value)) == 2:
        o, lse = o[0], lse[0]
    if layout is not None:
        o = as_given(o, layout)
    if out is not None:
        write(out, o)
    result = o if out is None else out
    return (result, lse) if return_lse else result


def weights(
    query: ArrayLike,
    key: ArrayLike,
    *,
    stage: Literal["scaled", "softcapped", "masked", "weights"] = "weights",
    **options: Any,
) -> Array:
    """Compute the weights P: how much of each value goes into each query's output.

    Parameters
    ----------
    query, key
        As for :func:`attention`.
    stage : {"scaled", "softcapped", "masked", "weights"}
        How far to go: as in :func:`regard.attention_weights`.
    **options
        Those of :func:`attention` but ``return_lse``, ``out`` and ``num_threads``.

    Returns
    -------
    ndarray of float64, shape (..., Hq, Sq, Sk), (Sq, Sk) or (Sk,)
        Each row sums to one, or is all zeros where the query sees no key. A sink takes its share
        away; with dropout, these are the weights after it.

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
    if stage == "weights":
        p, _, _ = probabilities(query, key, **options)
    else:
        p = staged_scores(query, key, stage, **options)
    if np.ndim(query) == 1:
        p = p[..., 0, :]
    return p[0] if max(np.ndim(query), np.ndim(key)) == 2 else p
