"""Attention of packed pieces of different lengths: queries, keys, values apart or in one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regard.flash_attn._autograd import Call, attend
from regard.flash_attn._pieces import pieces
from regard.flash_attn._probabilities import shown_lse, signed_weights
from regard.flash_attn._settings import Settings
from regard.flash_attn._shapes import check_shapes
from regard.flash_attn._tensors import check_floats
from regard.flash_attn._varlen_pages import paged_call

Results = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: torch.Tensor | None = None,
) -> torch.Tensor | Results:
    """Attention within each piece of a packed batch, with gradients.

    Parameters
    ----------
    q : Tensor, shape (total_q, heads, head_dim)
        The queries of all pieces, one piece after the other; dtypes as in `flash_attn_func`.
    k, v : Tensor, shape (total_k, heads_k, head_dim)
        With a block_table (pages, page_size, heads_k, head_dim), of any page_size.
    cu_seqlens_q, cu_seqlens_k : Tensor of int32, shape (batch + 1,)
        Piece n has the queries ``cu_seqlens_q[n]`` to ``cu_seqlens_q[n + 1]``, and keys likewise.
        They begin at 0, never fall, and end at the totals. int64 will do.
    max_seqlen_q, max_seqlen_k : int
        At least the length of the longest piece. Without effect but on the shape of S_dmask.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic
        As in `flash_attn_func`; positions are those within a piece.
    return_attn_probs : bool, default False
        Also return softmax_lse and S_dmask.
    block_table : Tensor of int32, shape (batch, blocks), optional
        Key j of piece n is row ``j % page_size`` of page ``block_table[n, j // page_size]``;
        cu_seqlens_k gives the lengths. Without gradients and dropout.

    Returns
    -------
    out : Tensor, shape (total_q, heads, head_dim)
        Contiguous, in the dtype of q. Queries that see no key give 0.
    softmax_lse : Tensor, shape (heads, total_q)
        Only with return_attn_probs; as in `flash_attn_func`.
    S_dmask : Tensor, shape (batch, heads, max_seqlen_q, max_seqlen_k)
        Only with return_attn_probs, for testing; 0 beyond a piece's lengths.

    Raises
    ------
    TypeError, ValueError
        An argument does not fit, or is not on the CPU; the message names it.
    NotImplementedError
        Derivatives of derivatives were asked for.

    See Also
    --------
    regard.flash_attn.bert_padding.unpad_input : Makes packed pieces of a padded batch.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_func, flash_attn_varlen_func
    >>> q, k, v = torch.randn(3, 10, 4, 16)  # sentences of 3 and 7 words
    >>> starts = torch.tensor([0, 3, 10], dtype=torch.int32)
    >>> out = flash_attn_varlen_func(q, k, v, starts, starts, 7, 7, causal=True)
    >>> second = (x[None, 3:] for x in (q, k, v))
    >>> torch.equal(out[3:], flash_attn_func(*second, causal=True)[0])
    True
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    inputs = {"q": q, "k": k, "v": v}
    starts = {"cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
    longest = {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
    function = "flash_attn_varlen_func"
    if block_table is None:
        return _varlen(function, inputs, starts, longest, settings, return_attn_probs)
    call = paged_call(function, inputs, starts, longest, settings, block_table)
    out, lse = attend(call, q, k, v)
    return (out, shown_lse(lse), torch.empty(0, dtype=q.dtype)) if return_attn_probs else out


def flash_attn_varlen_kvpacked_func(
    q: torch.Tensor,
    kv: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor | Results:
    """`flash_attn_varlen_func` for keys and values in one tensor, and their gradients in one.

    Parameters
    ----------
    q : Tensor, shape (total_q, heads, head_dim)
    kv : Tensor, shape (total_k, 2, heads_k, head_dim)
        Keys, then values.
    cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k
        As in `flash_attn_varlen_func`, and so is all that follows.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic
    return_attn_probs : bool, default False

    Returns
    -------
    Tensor, or tuple of three
        As in `flash_attn_varlen_func`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `flash_attn_varlen_func` does.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_varlen_kvpacked_func
    >>> q, kv = torch.randn(3, 4, 16), torch.randn(10, 2, 2, 16)
    >>> starts = [torch.tensor(x, dtype=torch.int32) for x in ([0, 1, 3], [0, 3, 10])]
    >>> flash_attn_varlen_kvpacked_func(q, kv, *starts, 2, 7).shape
    torch.Size([3, 4, 16])
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    starts = {"cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
    longest = {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
    function = "flash_attn_varlen_kvpacked_func"
    return _varlen(function, {"q": q, "kv": kv}, starts, longest, settings, return_attn_probs)


def flash_attn_varlen_qkvpacked_func(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    max_seqlen: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor | Results:
    """`flash_attn_varlen_func` for queries, keys and values in one tensor, and their gradients.

    Parameters
    ----------
    qkv : Tensor, shape (total, 3, heads, head_dim)
        Queries, keys, then values.
    cu_seqlens : Tensor of int32, shape (batch + 1,)
        Where each piece begins, and the total.
    max_seqlen : int
        As max_seqlen_q in `flash_attn_varlen_func`, and so is all that follows.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic
    return_attn_probs : bool, default False

    Returns
    -------
    Tensor, or tuple of three
        As in `flash_attn_varlen_func`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `flash_attn_varlen_func` does.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_varlen_qkvpacked_func
    >>> qkv = torch.randn(10, 3, 4, 16, requires_grad=True)
    >>> starts = torch.tensor([0, 3, 10], dtype=torch.int32)
    >>> flash_attn_varlen_qkvpacked_func(qkv, starts, 7).sum().backward()
    >>> qkv.grad.shape
    torch.Size([10, 3, 4, 16])
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    function = "flash_attn_varlen_qkvpacked_func"
    starts, longest = {"cu_seqlens": cu_seqlens}, {"max_seqlen": max_seqlen}
    return _varlen(function, {"qkv": qkv}, starts, longest, settings, return_attn_probs)


def _varlen(
    function: str,
    inputs: dict[str, torch.Tensor],
    starts: dict[str, torch.Tensor],
    longest: dict[str, int],
    settings: Settings,
    return_attn_probs: bool,
) -> torch.Tensor | Results:
    check_floats(function, inputs)
    _, heads = check_shapes(function, inputs, ("total",))
    totals = len(next(iter(inputs.values()))), len(list(inputs.values())[-1])
    (first, last), room = pieces(function, starts, longest, totals)
    call = Call(settings.options(function, len(first) - 1, heads), (first, last))
    tensors = tuple(inputs.values())
    out, lse = attend(call, *tensors)
    if not return_attn_probs:
        return out
    return out, shown_lse(lse), signed_weights(call, tensors, room)
