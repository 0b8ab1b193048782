"""Attention of batches whose elements are of one length: queries, keys, values apart or in one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from regard.flash_attn._autograd import Call, attend
from regard.flash_attn._probabilities import shown_lse, signed_weights
from regard.flash_attn._settings import Settings
from regard.flash_attn._shapes import check_shapes
from regard.flash_attn._tensors import check_floats

Results = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor | Results:
    """Attention of tensors in flash-attn's layout, with gradients.

    Parameters
    ----------
    q : Tensor, shape (batch, seqlen_q, heads, head_dim)
        float16 or bfloat16, as in flash-attn; also float32 and float64. On the CPU, any strides.
    k : Tensor, shape (batch, seqlen_k, heads_k, head_dim)
        heads must be a multiple of heads_k: query head h reads key head
        ``h // (heads // heads_k)``.
    v : Tensor, shape (batch, seqlen_k, heads_k, head_dim)
        May have a head_dim of its own.
    dropout_p : float, default 0
        Share of the weights to leave out, after the softmax. Drawn anew in every call, from
        PyTorch's generator for the CPU.
    softmax_scale : float, optional
        Factor of the scores; default ``1 / sqrt(head_dim)``.
    causal : bool, default False
        Query i sees the keys ``j <= i + seqlen_k - seqlen_q``, so that the last query sees the last
        key.
    window_size : (left, right), default (-1, -1)
        Query i sees the keys from ``i + seqlen_k - seqlen_q - left`` to ``i + seqlen_k - seqlen_q +
        right``, both included. A negative number is no limit; causal calls have a right side of 0.
    softcap : float, default 0
        Scores s become ``softcap * tanh(s / softcap)``. 0 or less is off.
    alibi_slopes : Tensor of float32, shape (heads,) or (batch, heads), optional
        ``slope * abs(i + seqlen_k - seqlen_q - j)`` is subtracted from the scores.
    deterministic : bool
        Without effect: gradients are bitwise reproducible in any case.
    return_attn_probs : bool, default False
        Also return softmax_lse and S_dmask.

    Returns
    -------
    out : Tensor, shape (batch, seqlen_q, heads, head_dim)
        Contiguous, in the dtype of q. Queries that see no key give 0.
    softmax_lse : Tensor, shape (batch, heads, seqlen_q)
        Only with return_attn_probs: the logarithm of the softmax denominators, +inf for queries
        that see no key. float64 for float64, else float32. Part of the graph.
    S_dmask : Tensor, shape (batch, heads, seqlen_q, seqlen_k)
        Only with return_attn_probs, for testing: the weights before dropout, negative where they
        are dropped. Without dropout an empty tensor, as in flash-attn.

    Raises
    ------
    TypeError, ValueError
        An argument does not fit, or is not on the CPU; the message names it.
    NotImplementedError
        Derivatives of derivatives were asked for.

    See Also
    --------
    regard.torch.attention : The same with heads in front, and with all of regard's options.

    Notes
    -----
    The arguments are those of ``flash_attn.flash_attn_func`` 2.8 [1]_.

    References
    ----------
    .. [1] Dao, T., "FlashAttention-2: Faster Attention with Better Parallelism and Work
       Partitioning", 2023.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_func
    >>> q = torch.randn(2, 100, 8, 64, dtype=torch.bfloat16, requires_grad=True)
    >>> k, v = torch.randn(2, 2, 100, 2, 64, dtype=torch.bfloat16)
    >>> out = flash_attn_func(q, k, v, causal=True, window_size=(31, 0))
    >>> out.sum().backward()
    >>> out.shape, q.grad.dtype
    (torch.Size([2, 100, 8, 64]), torch.bfloat16)
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    return _dense("flash_attn_func", {"q": q, "k": k, "v": v}, settings, return_attn_probs)


def flash_attn_kvpacked_func(
    q: torch.Tensor,
    kv: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor | Results:
    """`flash_attn_func` for keys and values in one tensor, and their gradients in one.

    Parameters
    ----------
    q : Tensor, shape (batch, seqlen_q, heads, head_dim)
    kv : Tensor, shape (batch, seqlen_k, 2, heads_k, head_dim)
        Keys, then values.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic
        As in `flash_attn_func`, and so is return_attn_probs.
    return_attn_probs : bool, default False

    Returns
    -------
    Tensor, or tuple of three
        As in `flash_attn_func`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `flash_attn_func` does.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_kvpacked_func
    >>> q, kv = torch.randn(2, 3, 8, 16), torch.randn(2, 100, 2, 4, 16)
    >>> flash_attn_kvpacked_func(q, kv).shape
    torch.Size([2, 3, 8, 16])
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    return _dense("flash_attn_kvpacked_func", {"q": q, "kv": kv}, settings, return_attn_probs)


def flash_attn_qkvpacked_func(
    qkv: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: torch.Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> torch.Tensor | Results:
    """`flash_attn_func` for queries, keys and values in one tensor, and their gradients in one.

    Parameters
    ----------
    qkv : Tensor, shape (batch, seqlen, 3, heads, head_dim)
        Queries, keys, then values.
    dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes, deterministic
        As in `flash_attn_func`, and so is return_attn_probs.
    return_attn_probs : bool, default False

    Returns
    -------
    Tensor, or tuple of three
        As in `flash_attn_func`.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `flash_attn_func` does.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_qkvpacked_func
    >>> qkv = torch.randn(2, 100, 3, 8, 16, requires_grad=True)
    >>> flash_attn_qkvpacked_func(qkv, causal=True).sum().backward()
    >>> qkv.grad.shape
    torch.Size([2, 100, 3, 8, 16])
    """
    settings = Settings(dropout_p, softmax_scale, causal, window_size, softcap, alibi_slopes)
    return _dense("flash_attn_qkvpacked_func", {"qkv": qkv}, settings, return_attn_probs)


def _dense(
    function: str, inputs: dict[str, torch.Tensor], settings: Settings, return_attn_probs: bool
) -> torch.Tensor | Results:
    check_floats(function, inputs)
    batch, heads = check_shapes(function, inputs, ("batch", "seqlen"))
    call = Call(settings.options(function, batch, heads))
    tensors = tuple(inputs.values())
    out, lse = attend(call, *tensors)
    if not return_attn_probs:
        return out
    return out, shown_lse(lse), signed_weights(call, tensors)
