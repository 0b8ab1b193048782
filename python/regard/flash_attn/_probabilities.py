"""What ``return_attn_probs=True`` adds to the output: the LSE and, for testing, the weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

import regard
from regard.flash_attn._autograd import Call
from regard.reference.philox import factors
from regard.torch._tensors import tensor_of

_DROPOUT = ("dropout", "seed")


def shown_lse(lse: torch.Tensor) -> torch.Tensor:
    """Return an LSE as flash-attn has it: +inf, not -inf, where a query sees no key."""
    return torch.where(lse == -torch.inf, torch.inf, lse)


def signed_weights(
    call: Call, tensors: tuple[torch.Tensor, ...], longest: tuple[int, int] | None = None
) -> torch.Tensor:
    """Weights before dropout, negative where dropped; empty without dropout, as in flash-attn.

    Parameters
    ----------
    call : Call
    tensors : tuple of Tensor
        Those of the call.
    longest : (int, int), optional
        For packed pieces: how many queries and keys there is room for.

    Returns
    -------
    Tensor, shape (batch, heads, seqlen_q, seqlen_k)
        In the dtype of the query.
    """
    query, key, _ = call.separate(tensors)
    if "dropout" not in call.options:
        return torch.empty(0, dtype=query.dtype)
    if call.starts is None:
        return _of_elements(call, query, key, np.arange(len(query)))
    starts_q, starts_k = call.starts
    assert longest is not None
    total = torch.zeros((len(starts_q) - 1, query.shape[1], *longest), dtype=query.dtype)
    for piece, whole in enumerate(total):
        rows = slice(starts_q[piece], starts_q[piece + 1])
        keys = slice(starts_k[piece], starts_k[piece + 1])
        alone = _one_piece(call, piece)
        weights = _of_elements(alone, query[None, rows], key[None, keys], np.array([piece]))
        whole[:, : weights.shape[-2], : weights.shape[-1]] = weights[0]
    return total


def _of_elements(
    call: Call, query: torch.Tensor, key: torch.Tensor, elements: NDArray[np.int64]
) -> torch.Tensor:
    options = {name: x for name, x in call.options.items() if name not in _DROPOUT}
    weights = tensor_of(regard.attention_weights(call.array(query), call.array(key), **options))
    dropout, seed = (call.options[name] for name in _DROPOUT)
    dropped = factors(dropout, seed, elements, tuple(weights.shape[1:])) == 0
    return torch.where(torch.from_numpy(dropped), -weights, weights)


def _one_piece(call: Call, piece: int) -> Call:
    """Return the call of one packed piece, as a batch of one."""
    slopes = call.options.get("alibi_slopes")
    if slopes is None or slopes.ndim == 1:
        return Call(call.options)
    return Call({**call.options, "alibi_slopes": slopes[piece]})
