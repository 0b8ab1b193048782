"""The attention function that is registered with transformers."""

from __future__ import annotations

from typing import Any

import torch

import regard
import regard.torch
from regard.transformers import _packed_call, _watchers
from regard.transformers._arguments import autocast, check_keywords, check_tensors
from regard.transformers._lazy_mask import LazyMask
from regard.transformers._selected import only_selected
from regard.transformers._stats import count
from regard.transformers._weights import weights_of

# Those of the options that may be tensors with gradients.
_LEARNED = ("bias", "sinks")


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    sinks: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    output_attentions: bool | None = False,
    indices: torch.Tensor | None = None,
    block_indices: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    cu_seq_lens_k: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention as models of transformers call it.

    Parameters
    ----------
    module : Module
        Its ``is_causal`` counts where there is neither a mask nor the argument.
    query : Tensor, shape (batch, Hq, Sq, D)
    key : Tensor, shape (batch, Hkv, Sk, D)
    value : Tensor, shape (batch, Hkv, Sk, Dv)
    attention_mask : Tensor, optional
        What `attention_mask` of this package made, or any bool or additive mask.
    dropout, scaling, is_causal, softcap
        As in transformers. Dropout draws its seed from torch's generator.
    s_aux : Tensor, shape (Hq,), optional
        Sinks (gpt-oss).
    sinks : Tensor, shape (batch, Hq, Sq, 1), optional
        A sink for each query (Inkling).
    position_bias : Tensor, broadcast to (batch, Hq, Sq, Sk), optional
        Added to the scores (T5).
    output_attentions : bool
        Also return the weights, which have no gradient.
    indices, block_indices : Tensor, optional
        The only keys, or blocks of keys, that each query sees (DeepSeek V3.2, MiniMax M3).
    position_ids : Tensor, optional
        Looked at only with block_indices.
    cu_seq_lens_q, cu_seq_lens_k : Tensor, shape (pieces + 1,), optional
        Where the pieces of a packed batch begin, as in flash attention; the batch is one row.
    **others
        Not looked at; `check_keywords` says which.

    Returns
    -------
    out : Tensor, shape (batch, Sq, Hq, Dv)
    weights : Tensor, shape (batch, Hq, Sq, Sk), or None
    """
    check_keywords(others)
    query, key, value = autocast(query, key, value)
    check_tensors(query, key, value)
    tensors = {"query": query, "key": key, "value": value}
    numbers = {"scale": scaling, "softcap": softcap, "sinks": s_aux}
    options: dict[str, Any] = {name: x for name, x in numbers.items() if x is not None}
    dropped: dict[str, Any] = {}
    if dropout:
        dropped = {"dropout": dropout, "seed": int(torch.randint(0, 2**62, ()))}
    if cu_seq_lens_q is not None:
        apart = {
            "output_attentions": output_attentions or None,
            "position_bias": position_bias,
            "indices": indices,
            "block_indices": block_indices,
        }
        for name in (name for name, x in apart.items() if x is not None):
            raise ValueError(
                f'attn_implementation="regard": {name} comes together with cu_seq_lens_q.\n'
                "  Run the padded batch."
            )
        starts = cu_seq_lens_q, cu_seq_lens_k
        causal = _is_causal(module, is_causal)
        options |= _packed_call.options_within_pieces(attention_mask, causal)
        out = _packed_call.run(tensors, {**options, **dropped}, starts, sinks)
        if _watchers.active:
            _packed_call.watch(module, query, key, options, starts)
        return out, None
    attention_mask = only_selected(
        module, query, key, attention_mask, indices, block_indices, position_ids
    )
    options |= _options(module, query, key, attention_mask, is_causal, position_bias)
    if torch.compiler.is_compiling() and sinks is None and not output_attentions:
        out = regard.torch.attention(query, key, value, **options, **dropped)
        return out.transpose(1, 2).contiguous(), None
    _packed_call.refuse_unpacked(module)
    out = _run(tensors, {**options, **dropped}, sinks)
    if _watchers.active:
        _watchers.look(module, query, key, options, sinks)
    weights = weights_of(query, key, options, sinks) if output_attentions else None
    return out, weights


def _is_causal(module: torch.nn.Module, is_causal: bool | None) -> bool:
    """Take the argument, or what the module says.

    sdpa takes a module that says nothing for a decoder's; those that do are encoders (Splinter,
    LayoutLM), which it does not run.
    """
    return bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)


def _options(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    is_causal: bool | None,
    bias: torch.Tensor | None,
) -> dict[str, Any]:
    """Read mask and bias."""
    options: dict[str, Any] = {}
    if mask is None:
        # As for sdpa: causal if the module is, from the upper left.
        if query.shape[2] > 1 and _is_causal(module, is_causal):
            options["causal"] = "upper_left"
    else:
        if mask.shape[-1] > key.shape[2]:  # of caches that were longer when it was made
            mask = mask[..., : key.shape[2]]
        if isinstance(mask, LazyMask):
            options.update(mask.options)
        else:
            count("mask: given")
            if mask.dtype == torch.bool:
                options["mask"] = mask
            else:
                bias = mask if bias is None else bias + mask
    if bias is not None:
        options["bias"] = bias.to(query.dtype)
    return options


def _run(
    tensors: dict[str, torch.Tensor], options: dict[str, Any], sinks: torch.Tensor | None
) -> torch.Tensor:
    """Output (batch, Sq, Hq, Dv), by the shortest way that there is."""
    if sinks is not None:
        return _with_row_sinks(tensors, options, sinks)
    learned = [options[name] for name in _LEARNED if name in options]
    moves = any(x.requires_grad for x in (*tensors.values(), *learned))
    count("call: gradient" if moves and torch.is_grad_enabled() else "call: forward")
    out: torch.Tensor = regard.torch.attention(**tensors, **options)
    return out.transpose(1, 2).contiguous()


def _with_row_sinks(
    tensors: dict[str, torch.Tensor], options: dict[str, Any], sinks: torch.Tensor
) -> torch.Tensor:
    """One more logit in each row's softmax: out * Z / (Z + exp(sink)), where Z is exp(LSE)."""
    count("call: sink a query")
    out, lse = regard.torch.attention(**tensors, **options, return_lse=True)
    kept = torch.sigmoid(lse.unsqueeze(-1) - sinks)
    return (out * kept).to(out.dtype).transpose(1, 2).contiguous()
