"""Weights as tensors, with gradients, for modules that are asked for them."""

from __future__ import annotations

from typing import Any

import torch

import regard
from regard.torch._function import transformed
from regard.torch._tensors import array_of, tensor_of

torch.library.define(
    "regard::attention_weights",
    "(Tensor query, Tensor key, Tensor? mask, Tensor? bias) -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag, torch.Tag.flexible_layout),
)


def attention_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax of the scores by `regard.attention_weights`.

    Parameters
    ----------
    query : Tensor, shape (N, H, L, E)
    key : Tensor, shape (N, H, S, E)
    mask : Tensor of bool, True = attend, broadcasts to (N, H, L, S), optional
    bias : Tensor, broadcasts likewise, optional

    Returns
    -------
    Tensor, shape (N, H, L, S)
        0 where masked, also in rows that see nothing.
    """
    if transformed():  # whose rules PyTorch has for its own operators
        return _by_definition(query, key, mask, bias)
    weights: torch.Tensor = torch.ops.regard.attention_weights(query, key, mask, bias)
    return weights


def _by_definition(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    sees = (scores > -torch.inf).any(-1, keepdim=True)
    weights: torch.Tensor = scores.masked_fill(~sees, 0.0).softmax(-1) * sees
    return weights


@torch.library.impl("regard::attention_weights", "cpu")
def _weights(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    options: dict[str, Any] = {
        name: array_of(x) for name, x in (("mask", mask), ("bias", bias)) if x is not None
    }
    weights = tensor_of(regard.attention_weights(array_of(query), array_of(key), **options))
    return weights.to(query.dtype)


@torch.library.register_fake("regard::attention_weights")
def _fake(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor:
    return query.new_empty((*query.shape[:-1], key.shape[-2]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    query, key, _, bias = inputs
    ctx.shape = None if bias is None else bias.shape
    ctx.save_for_backward(query, key, output)


def _gradients(ctx: Any, dweights: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    query, key, weights = ctx.saved_tensors
    by_query, by_key, _, by_bias = ctx.needs_input_grad
    moved = weights * dweights
    dscores = moved - weights * moved.sum(-1, keepdim=True)
    scaled = dscores * query.shape[-1] ** -0.5
    return (
        scaled @ key if by_query else None,
        scaled.transpose(-2, -1) @ query if by_key else None,
        None,
        dscores.sum_to_size(ctx.shape) if by_bias else None,
    )


torch.library.register_autograd("regard::attention_weights", _gradients, setup_context=_keep)
