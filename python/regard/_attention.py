"""``attention``: its signature, spelled out in overloads for editors and type checkers; its words.

What runs takes options as they are given, so that those left out cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from regard import _core
from regard._call.arranged import attention_in_layout
from regard._call.core_options import check_names, core_options
from regard._call.signature import spelled_out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from regard._call.types import Causal, ScoreMod, Similarity, Window
    from regard.bias import PositionBias
    from regard.masks import BlockMask, PackedMask


@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | BlockMask | PackedMask | None = None,
    key_mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreMod | None = None,
    score_mod_gradient: ScoreMod | None = None,
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
    similarity: Similarity = "dot",
    dropout: float = 0.0,
    seed: int | None = None,
    num_threads: int | None = None,
    layout: str | None = None,
    return_lse: Literal[False] = False,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]: ...


@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | BlockMask | PackedMask | None = None,
    key_mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreMod | None = None,
    score_mod_gradient: ScoreMod | None = None,
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
    similarity: Similarity = "dot",
    dropout: float = 0.0,
    seed: int | None = None,
    num_threads: int | None = None,
    layout: str | None = None,
    return_lse: Literal[True],
    out: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]: ...


@overload
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    causal: Causal = False,
    window: Window = None,
    mask: ArrayLike | BlockMask | PackedMask | None = None,
    key_mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    position_bias: PositionBias | None = None,
    score_mod: ScoreMod | None = None,
    score_mod_gradient: ScoreMod | None = None,
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
    similarity: Similarity = "dot",
    dropout: float = 0.0,
    seed: int | None = None,
    num_threads: int | None = None,
    layout: str | None = None,
    return_lse: bool,
    out: NDArray[Any] | None = None,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...


@spelled_out
def attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    return_lse: bool = False,
    out: NDArray[Any] | None = None,
    **options: Any,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    r"""Exact scaled dot-product attention.

    Computes ``softmax(scale * query @ key.T + bias, where visible) @ value`` for every batch
    element and head, tile by tile: nothing of size (queries, keys) is ever allocated.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16. A 2-D array is one head, a 1-D array one query. Any
        strides.
    key : array_like, shape (..., Hkv, Sk, D)
        Hq must be a multiple of Hkv; query head h reads key head ``h // (Hq // Hkv)``
        (grouped-query attention). Leading axes broadcast as in NumPy. Of float64 if query is, else
        float32, float16, bfloat16, or int8 with key_scales, whatever query and value are.
    value : array_like, shape (..., Hkv, Sk, Dv)
        Likewise. Dv may differ from D.
    causal : {False, True, "lower_right", "upper_left"}, default False
        True and "lower_right" let query i see the keys ``j <= i + Sk - Sq``, so that the last
        query sees the last key; "upper_left" those with ``j <= i``.
    window : int or (left, right), optional
        Query i at position p sees ``p - left <= j <= p + right``; None on a side is no limit.
        One number counts for both sides, and a side may be below 0: (None, -1) is the strict past,
        (-1, None) what comes after. p is i, plus ``Sk - Sq`` unless causal is "upper_left". A side
        may have one number for each query head: an integer array, -1 for no limit, or a list, None
        for no limit and numbers below 0 what they are elsewhere.
    mask : array_like of bool, PackedMask or BlockMask, optional
        True = attend. Broadcasts to (..., Hq, Sq, Sk); broadcast axes are never expanded, and
        empty tiles of a `BlockMask` take no time.
    key_mask : array_like of bool, shape (batch, Sk), optional
        True = a token, False = padding, on any side and with any holes; the 0 and 1 of a
        tokenizer's attention_mask do as well. Joins all other masks. Unlike with key_lengths,
        positions are those of the padded arrays, so that causal means what it does without
        padding.
    bias : array_like, optional
        Added to the scaled scores, in the dtype of query. Broadcasts like mask; -inf masks.
    position_bias : object of `regard.bias`, optional
        A bias that depends on the distance of query and key, evaluated where it is needed: T5's
        buckets, a table of relative positions, a grid of pixels. Comes on top of bias.
    score_mod : callable or compiled function, optional
        What becomes of each score after softcap and ALiBi, before biases and masks. With an address
        (`numba.cfunc`, `scipy.LowLevelCallable`, `ctypes`, PyCapsule) it is ``void (float* scores,
        int64 count, int64 query, int64 first_key, int64 head, int64 batch, void* user)``, changes
        the scores of neighbouring keys in place, and is called from all threads at once;
        ``double*`` where query is float64. Any other callable is
        ``f(scores, batch, head, query, key)``, which gets a tile of scores and index arrays that
        broadcast to it, and returns the new ones; it is called with the GIL, which is slow. What
        it raises is raised, and out is not written then.
    score_mod_gradient : callable or compiled function, optional
        For derivatives: ``(dscores, scores, ...)`` likewise, where dscores is by what score_mod
        makes of scores; returns, or in place makes of them, those by scores.
    key_lengths, query_lengths : array_like of int, optional
        How many leading keys and queries of each batch element count. Broadcast to the batch
        axes. Later queries give 0. Positions for causal and window then count from the
        element's own lengths; for a batch padded on the right in queries and keys alike,
        causal="upper_left" is what is meant, or both lengths.
    query_offset : array_like of int, optional
        Position of the first query among the keys, one for all or one for each batch element, in
        place of ``Sk - Sq``.
    block_table : array_like of int, shape (batch, blocks), optional
        Keys and values lie in pages: key is (pages, page_size, Hkv, D), value (pages, page_size,
        Hkv, Dv), scales (pages, page_size, Hkv), and key j of batch element b is row
        ``j % page_size`` of page ``block_table[b, j // page_size]``. Needs key_lengths; entries
        past a length are not looked at.
    key_scales, value_scales : array_like of float32, shape (..., Hkv, Sk), optional
        For int8: what the numbers of a key or value are multiplied by (`quantize_kv`).
    scale : float or array_like, shape (Hq,), optional
        Factor of the scores; default ``1 / sqrt(D)``. Any finite number, or one a head.
    query_scale : array_like, broadcast to (..., Hq, Sq), optional
        One more factor of the scores of each query, beside scale and before softcap: temperatures
        by position (Llama 4), log n scaling (Qwen), scalable softmax. Has a gradient.
    softcap : float or array_like, shape (Hq,), optional
        Scores s become ``c * tanh(s / c)``, before anything is added to them. 0 is off.
    alibi_slopes : array_like, shape (Hq,) or (batch, Hq), optional
        ``slope * abs(p - j)`` is subtracted from the scores; `alibi_slopes` makes the usual ones.
    sinks : array_like, shape (Hq,), optional
        One more logit in each row's softmax that has no value, so that weights may sum to less
        than one. Neither scaled nor capped; part of the LSE. -inf is none.
    similarity : {"dot", "cosine"}, default "dot"
        "cosine" divides queries and keys by their lengths; scale then defaults to 1.
    dropout : float, default 0
        Share of the weights to leave out, after the softmax; the others grow by
        ``1 / (1 - dropout)``. The LSE is that of all weights.
    seed : int, optional
        For dropout, 0 to 2**64 - 1. The same seed drops the same weights, whatever the number of
        threads: each is decided by (seed, batch element, head, query, key) alone.
    num_threads : int, optional
        Default: `get_num_threads`; small calls stay on one thread. The result is bitwise the
        same for every number.
    layout : str, optional
        What the axes of query, key, value, out, and of the output are, as a permutation of "BHSD"
        or "HSD": batch, heads, sequence, dim. "BSHD" is FlashAttention's and JAX's. Nothing is
        copied. key_scales and value_scales go by it as well, without D; the LSE, masks and biases
        stay by head. The default is any number of batch axes, then heads, sequence, dim.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators.
    out : ndarray, shape (..., Hq, Sq, Dv), optional
        Written in place; any strides, but no memory in common with the inputs.

    Returns
    -------
    out : ndarray, shape (..., Hq, Sq, Dv)
        In the dtype of query. Queries that see no key give 0.
    lse : ndarray, shape (..., Hq, Sq)
        Only with return_lse: ``log(sum(exp(scores)))`` over the visible keys and the sink, -inf
        for none. float64 for float64, else float32.

    Raises
    ------
    ValueError
        A shape or an option does not fit; nothing has been written.
    TypeError
        An argument has a dtype or type that is not supported; nothing has been written.

    See Also
    --------
    explain : How such a call is run.
    varlen_attention : The same for packed pieces of different lengths.
    attention_weights, attention_summary : The weights themselves, and what can be said of them.
    regard.reference.attention : The definition, in float64 NumPy.

    Notes
    -----
    A score goes through the options in this order: scale, softcap, ALiBi, score_mod,
    position_bias, bias; then what is masked is left out. All masks compose: a key is seen if every
    one of them lets it be. Masked positions never matter, whatever their memory holds.

    The forward pass follows the online softmax of [2]_ and [3]_, with the queries in the SIMD
    lanes. Softcap is that of Gemma 2, sinks those of [6]_ and gpt-oss, dropout draws from
    Philox4x32-10 [5]_.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.
    .. [2] Milakov, M. and Gimelshein, N., "Online normalizer calculation for softmax", 2018.
    .. [3] Dao, T. et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
       IO-Awareness", 2022.
    .. [4] Press, O. et al., "Train Short, Test Long: Attention with Linear Biases Enables Input
       Length Extrapolation", 2022.
    .. [5] Salmon, J. et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    .. [6] Xiao, G. et al., "Efficient Streaming Language Models with Attention Sinks", 2023.

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
    core = None
    if options:
        check_names("attention", options)
        if options.get("layout") is not None:
            return attention_in_layout(query, key, value, options, return_lse, out)
        core = core_options(query, key, options)
    return _core.attention(query, key, value, core, return_lse, out)
