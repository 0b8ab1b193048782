"""The forward pass of ``torch.nn.MultiheadAttention`` with regard inside.

In its masks True and -inf hide, which is the other way round than in `regard.attention`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from regard.torch._attention import attention, is_traced
from regard.torch._function import transformed
from regard.torch._tensors import check_tensor
from regard.torch._weights import attention_weights

_NAME = "MultiheadAttention"
_Tensor = torch.Tensor


class MultiheadAttention:
    """A mix-in above ``torch.nn.MultiheadAttention``: `patch` puts it in front of its class."""

    embed_dim: int
    num_heads: int
    head_dim: int
    dropout: float
    batch_first: bool
    training: bool
    add_zero_attn: bool
    _qkv_same_embed_dim: bool
    in_proj_weight: Any
    in_proj_bias: Any
    q_proj_weight: Any
    k_proj_weight: Any
    v_proj_weight: Any
    bias_k: Any
    bias_v: Any
    out_proj: Any

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As ``torch.nn.MultiheadAttention.forward``, whose arguments these are."""
        for name, x in (("query", query), ("key", key), ("value", value)):
            check_tensor(x, name)
        batched = query.dim() == 3
        if not batched:
            axis = 0 if self.batch_first else 1
            same = query is key, key is value
            query = query.unsqueeze(axis)
            key = query if same[0] else key.unsqueeze(axis)
            value = key if same[1] else value.unsqueeze(axis)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        q, k, v = self._heads(query, key, value)
        masks = self._masks(q, k, key_padding_mask, attn_mask, is_causal, need_weights)
        k, v, masks = self._more_keys(k, v, masks)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = attention_weights(q, k, _of_pairs(masks), masks.get("bias"))
            weights = functional.dropout(weights, dropout)
        if weights is not None and dropout > 0.0:
            out = weights @ v  # of the weights that are returned, which only they know
        else:
            if dropout > 0.0:
                masks = {**masks, "dropout": dropout, "seed": torch.randint(2**63 - 1, ())}
            out = attention(q, k, v, **masks)
        out = out.transpose(1, 2) if self.batch_first else out.permute(2, 0, 1, 3)
        out = self.out_proj(out.flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            out = out.squeeze(0 if self.batch_first else 1)
            weights = None if weights is None else weights.squeeze(0)
        return out, weights

    def _heads(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> list[torch.Tensor]:
        """Projections, as (N, H, length, head_dim)."""
        bias, linear = self.in_proj_bias, functional.linear
        if not self._qkv_same_embed_dim:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
            biases = (None,) * 3 if bias is None else bias.chunk(3)
            inputs = zip((query, key, value), weights, biases, strict=True)
            projected = tuple(linear(x, w, b) for x, w, b in inputs)
        elif query is key and key is value:
            projected = linear(query, self.in_proj_weight, bias).chunk(3, -1)
        else:
            weights = self.in_proj_weight.split([self.embed_dim, 2 * self.embed_dim])
            biases = (None, None) if bias is None else bias.split([w.shape[0] for w in weights])
            first = linear(query, weights[0], biases[0])
            if key is value:
                projected = first, *linear(key, weights[1], biases[1]).chunk(2, -1)
            else:
                of_two = (None, None) if biases[1] is None else biases[1].chunk(2)
                pairs = zip((key, value), weights[1].chunk(2), of_two, strict=True)
                projected = first, *(linear(x, w, b) for x, w, b in pairs)
        apart = (x.unflatten(-1, (self.num_heads, self.head_dim)) for x in projected)
        return [x.transpose(1, 2) if self.batch_first else x.permute(1, 2, 0, 3) for x in apart]

    def _masks(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        key_padding_mask: torch.Tensor | None,
        attn_mask: torch.Tensor | None,
        is_causal: bool,
        need_weights: bool,
    ) -> dict[str, Any]:
        """Masks as options of attention; no padding is multiplied out to all heads and queries."""
        batch, queries, keys = query.shape[0], query.shape[2], key.shape[2]
        if is_causal and attn_mask is None:
            raise RuntimeError(
                f"{_NAME}: is_causal without attn_mask.\n  It is a hint that attn_mask is the "
                "causal one: give that too."
            )
        parts = []
        options: dict[str, Any] = {}
        more_keys = self.bias_k is not None or self.add_zero_attn
        hinted = is_causal and not need_weights and not more_keys
        if hinted:
            options["causal"] = "upper_left"
        elif attn_mask is not None:
            every = batch * self.num_heads
            allowed = ((queries, keys), (every, queries, keys))
            _check_mask("attn_mask", attn_mask, allowed)
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.unflatten(0, (batch, self.num_heads))
            parts.append(attn_mask)
        if key_padding_mask is not None:
            _check_mask("key_padding_mask", key_padding_mask, ((batch, keys),))
            if _only_hides(key_padding_mask):
                # A run of padding at the end takes no time.
                options["key_mask"] = key_padding_mask == 0
            else:
                parts.append(key_padding_mask[:, None, None])
        for part in parts:
            if part.dtype == torch.bool:
                options["mask"] = ~part if "mask" not in options else options["mask"] & ~part
            else:
                options["bias"] = part if "bias" not in options else options["bias"] + part
        return options

    def _more_keys(
        self, key: torch.Tensor, value: torch.Tensor, masks: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Append the learned key and value, and the zero ones; every query sees them."""
        added = []
        shape = key.shape[0], self.num_heads, 1, self.head_dim
        if self.bias_k is not None:
            one = (1, self.num_heads, 1, self.head_dim)
            added.append([x.reshape(one).expand(shape) for x in (self.bias_k, self.bias_v)])
        if self.add_zero_attn:
            added.append([key.new_zeros(shape)] * 2)
        if not added:
            return key, value, masks
        key = torch.cat([key, *(k for k, _ in added)], 2)
        value = torch.cat([value, *(v for _, v in added)], 2)
        seen = {"mask": True, "key_mask": True, "bias": 0.0}
        masks = {
            name: functional.pad(x, (0, len(added)), value=seen[name]) if name in seen else x
            for name, x in masks.items()
        }
        return key, value, masks


def _only_hides(mask: torch.Tensor) -> bool:
    """Whether a mask is one of bools, or what PyTorch makes of it; a graph cannot look."""
    if transformed():  # where a mask of keys would be a loop
        return False
    if mask.dtype == torch.bool:
        return True
    if mask.requires_grad or torch.compiler.is_compiling() or is_traced((mask,)):
        return False
    return bool(((mask == 0) | (mask == -torch.inf)).all())


def _of_pairs(masks: dict[str, Any]) -> torch.Tensor | None:
    """Join the bool masks of a call."""
    mask: torch.Tensor | None = masks.get("mask")
    if "key_mask" not in masks:
        return mask
    of_keys: torch.Tensor = masks["key_mask"][:, None, None]
    return of_keys if mask is None else mask & of_keys


def _check_mask(name: str, mask: torch.Tensor, shapes: tuple[tuple[int, ...], ...]) -> None:
    check_tensor(mask, name)
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TypeError(
            f"{_NAME}: {name} has dtype {mask.dtype}.\n  Give bool, True = ignore, or floats that "
            "are added to the scores."
        )
    if tuple(mask.shape) not in shapes:
        raise RuntimeError(
            f"{_NAME}: {name} has shape {tuple(mask.shape)}.\n  Give "
            f"{' or '.join(map(str, shapes))}."
        )
