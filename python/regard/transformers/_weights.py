"""The weights themselves, for ``output_attentions=True``."""

from __future__ import annotations

from typing import Any

import torch

import regard
from regard.torch._tensors import array_of, tensor_of
from regard.transformers._stats import count
from regard.transformers._tensors import arrays_of


def weights_of(
    query: torch.Tensor, key: torch.Tensor, options: dict[str, Any], sinks: torch.Tensor | None
) -> torch.Tensor:
    """Weights (batch, Hq, Sq, Sk), without dropout. A derivative by them is refused."""
    count("call: weights")
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad):
        result: torch.Tensor = _WithoutGradient.apply(query, key, options, sinks)
        return result
    return _weights(query, key, options, sinks)


def _weights(
    query: torch.Tensor, key: torch.Tensor, options: dict[str, Any], sinks: torch.Tensor | None
) -> torch.Tensor:
    arrays = array_of(query), array_of(key)
    given = arrays_of(options)
    weights = tensor_of(regard.attention_weights(*arrays, **given)).to(query.dtype)
    if sinks is None:
        return weights
    values = arrays[1][..., :1]  # only the LSE is of interest
    _, lse = regard.attention(*arrays, values, return_lse=True, **given)
    return weights * torch.sigmoid(torch.from_numpy(lse).unsqueeze(-1) - sinks).to(weights.dtype)


class _WithoutGradient(torch.autograd.Function):
    """Says so where autograd would go on, instead of leaving a part of the gradient out."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> torch.Tensor:
        return _weights(*arguments)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            'attn_implementation="regard": there is no gradient through the weights of '
            "output_attentions=True.\n  Choose attn_implementation='eager' for a loss of weights, "
            "or detach them."
        )
