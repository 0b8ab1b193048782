"""``flash_attn_with_kvcache``: new keys and values into a cache in place, then attention to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import regard
from regard.flash_attn._pages import Places, places_in_cache
from regard.flash_attn._probabilities import shown_lse
from regard.flash_attn._rotary import check_tables, rotated
from regard.flash_attn._settings import Settings
from regard.flash_attn._shapes import check_rank
from regard.flash_attn._tensors import check_floats
from regard.torch._tensors import array_of, tensor_of

_NAME = "flash_attn_with_kvcache"


def flash_attn_with_kvcache(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    k: torch.Tensor | None = None,
    v: torch.Tensor | None = None,
    rotary_cos: torch.Tensor | None = None,
    rotary_sin: torch.Tensor | None = None,
    cache_seqlens: int | torch.Tensor | None = None,
    cache_batch_idx: torch.Tensor | None = None,
    cache_leftpad: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: Sequence[int] = (-1, -1),
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    alibi_slopes: torch.Tensor | None = None,
    num_splits: int = 0,
    return_softmax_lse: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Attention to a cache of keys and values, which new ones are put into first.

    Parameters
    ----------
    q : Tensor, shape (batch, seqlen_q, heads, head_dim)
        float16, bfloat16, float32 or float64, on the CPU; any strides.
    k_cache, v_cache : Tensor, shape (batch_cache, seqlen_cache, heads_k, head_dim)
        Read where they lie. With a block_table (pages, page_size, heads_k, head_dim), of any
        page_size.
    k, v : Tensor, shape (batch, seqlen_new, heads_k, head_dim), optional
        Written into the caches, in place, from cache_seqlens on.
    rotary_cos, rotary_sin : Tensor, shape (seqlen_ro, rotary_dim / 2), optional
        Rotary embedding, in the dtype of q; with k and v only. New keys are turned by the rows from
        cache_seqlens on. So are the queries if there is causal or a window; otherwise all of them
        by the row of cache_seqlens.
    cache_seqlens : int or Tensor of int32, shape (batch,), optional
        How many keys each cache holds before this call. All of it, if not given, which k and v do
        not allow.
    cache_batch_idx : Tensor of int32, shape (batch,), optional
        Which rows of the caches to use; by default the first ones, in order. Not with a
        block_table.
    cache_leftpad : Tensor of int32, shape (batch,), optional
        How many keys at the start of each cache are not looked at.
    block_table : Tensor of int32, shape (batch, blocks), optional
        Key j of element b is row ``j % page_size`` of page ``block_table[b, j // page_size]``.
    softmax_scale, causal, window_size, softcap, alibi_slopes
        As in `flash_attn_func`, where seqlen_k is the number of keys an element has now.
    rotary_interleaved : bool, default True
        Whether features 2 n and 2 n + 1 are a pair, or n and n + rotary_dim / 2.
    num_splits : int
        Without effect: how keys are split up never changes the result.
    return_softmax_lse : bool, default False
        Also return the LSE.

    Returns
    -------
    out : Tensor, shape (batch, seqlen_q, heads, head_dim)
        Contiguous, in the dtype of q. Has no gradient, as in flash-attn. Queries that see no key
        give 0.
    softmax_lse : Tensor, shape (batch, heads, seqlen_q)
        Only with return_softmax_lse: as in `flash_attn_func`.

    Raises
    ------
    TypeError, ValueError
        An argument does not fit, or is not on the CPU; nothing has been written.

    See Also
    --------
    regard.KVCache, regard.PagedKVCache : Caches that keep their lengths and pages themselves.

    Examples
    --------
    >>> import torch
    >>> from regard.flash_attn import flash_attn_with_kvcache
    >>> k_cache, v_cache = torch.zeros(2, 2, 512, 4, 16)
    >>> lengths = torch.tensor([0, 40], dtype=torch.int32)
    >>> q, (k, v) = torch.randn(2, 1, 8, 16), torch.randn(2, 2, 1, 4, 16)
    >>> out = flash_attn_with_kvcache(q, k_cache, v_cache, k, v, cache_seqlens=lengths, causal=True)
    >>> out.shape, torch.equal(k_cache[1, 40], k[1, 0])
    (torch.Size([2, 1, 8, 16]), True)
    """
    with torch.no_grad():
        inputs = {"q": q, "k_cache": k_cache, "v_cache": v_cache}
        new = _new(k, v)
        check_floats(_NAME, {**inputs, **new})
        check_rank(_NAME, "q", q, ("batch", "seqlen"))
        places = places_in_cache(_NAME, inputs, new, cache_seqlens, cache_batch_idx, block_table)
        settings = Settings(0.0, softmax_scale, causal, window_size, softcap, alibi_slopes)
        options = settings.options(_NAME, q.shape[0], q.shape[2])
        if cache_leftpad is not None:
            options["mask"] = places.right_of(_NAME, cache_leftpad)
        if rotary_cos is not None or rotary_sin is not None:
            if not new:
                raise ValueError(
                    f"{_NAME}: rotary_cos without k and v.\n  Keys in the cache have been turned "
                    "when they were put in: turn q yourself."
                )
            each = causal or settings.is_local
            q, new["k"] = _turned(
                q, new["k"], places, rotary_cos, rotary_sin, rotary_interleaved, each
            )
        if new:
            places.write((k_cache, new["k"]), (v_cache, new["v"]))
        out = torch.empty((*q.shape[:-1], v_cache.shape[-1]), dtype=q.dtype)
        _, lse = regard.attention(
            array_of(q.transpose(1, 2)), array_of(k_cache), array_of(v_cache),
            block_table=places.table, key_lengths=places.after,
            out=array_of(out.transpose(1, 2)), return_lse=True, **options,
        )  # fmt: skip
        return (out, shown_lse(tensor_of(lse))) if return_softmax_lse else out


def _new(k: torch.Tensor | None, v: torch.Tensor | None) -> dict[str, torch.Tensor]:
    if k is None and v is None:
        return {}
    if k is None or v is None:
        there, missing = ("v", "k") if k is None else ("k", "v")
        raise ValueError(f"{_NAME}: {there} without {missing}.\n  Give both, or neither.")
    return {"k": k, "v": v}


def _turned(
    q: torch.Tensor,
    k: torch.Tensor,
    places: Places,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    interleaved: bool,
    each: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn queries and new keys; queries as if at one position, unless `each` has its own."""
    steps_q = torch.arange(q.shape[1]) if each else torch.zeros(q.shape[1], dtype=torch.int64)
    first = torch.from_numpy(places.before)[:, None]
    at_q, at_k = first + steps_q, first + torch.arange(k.shape[1])
    end = 1 + max((int(at.max()) for at in (at_q, at_k) if at.numel()), default=-1)
    tables = check_tables(_NAME, q, cos, sin, end)
    return rotated(q, at_q, *tables, interleaved), rotated(k, at_k, *tables, interleaved)
