"""PyTorch: scaled_dot_product_attention, MultiheadAttention and FlexAttention."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from others.softmax import attend, repeated, scores_of, steps


def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    scale=None,
    enable_gqa=False,
):
    """As in torch.nn.functional; the code of its documentation."""
    assert dropout_p == 0
    if enable_gqa:
        key, value = repeated(query, key, value)
    scores = scores_of(query, key, scale)
    if is_causal:
        assert attn_mask is None
        scores = np.where(steps(*scores.shape[-2:], 0) >= 0, scores, -np.inf)
    if attn_mask is not None:
        boolean = attn_mask.dtype == bool
        scores = np.where(attn_mask, scores, -np.inf) if boolean else scores + attn_mask
    return attend(scores, value)[0]


def flex_attention(
    query,
    key,
    value,
    score_mod=None,
    block_mask=None,
    scale=None,
    enable_gqa=False,
    return_lse=False,
):
    """As in torch.nn.attention.flex_attention; block_mask is what create_block_mask returns."""
    if enable_gqa:
        key, value = repeated(query, key, value)
    scores = scores_of(query, key, scale)
    place = np.ogrid[tuple(map(slice, scores.shape))]
    if score_mod is not None:
        scores = score_mod(scores, *place)
    if block_mask is not None:
        scores = np.where(block_mask(*place), scores, -np.inf)
    out, lse = attend(scores, value)
    return (out, lse) if return_lse else out


def create_block_mask(mask_mod, B, H, Q_LEN, KV_LEN):
    """As in torch.nn.attention.flex_attention."""
    return mask_mod


class MultiheadAttention:
    """torch.nn.MultiheadAttention with batch_first=True."""

    def __init__(self, num_heads, in_proj_weight, in_proj_bias, out_weight, out_bias):
        self.num_heads = num_heads
        self.into = in_proj_weight, in_proj_bias
        self.out = out_weight, out_bias

    def __call__(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
    ):
        weights, biases = (np.split(x, 3) for x in self.into)

        def heads(x, w, b):
            x = np.float64(x) @ w.T + b
            return x.reshape(*x.shape[:2], self.num_heads, -1).swapaxes(1, 2)

        q, k, v = map(heads, (query, key, value), weights, biases)
        scores = scores_of(q, k)
        for hidden in (
            attn_mask,
            None if key_padding_mask is None else key_padding_mask[:, None, None],
        ):
            if hidden is not None:  # True = leave out
                scores = np.where(hidden, -np.inf, scores)
        x = attend(scores, v)[0].swapaxes(1, 2)
        out = x.reshape(*x.shape[:2], -1) @ self.out[0].T + self.out[1]
        if not need_weights:
            return out, None
        shares = attend(scores, np.eye(scores.shape[-1]))[0]
        return out, shares.mean(axis=1) if average_attn_weights else shares


def definitions():
    """The names that the page uses."""
    return {
        "F": SimpleNamespace(scaled_dot_product_attention=scaled_dot_product_attention),
        "flex_attention": flex_attention,
        "create_block_mask": create_block_mask,
        "MultiheadAttention": MultiheadAttention,
    }


def itself():
    """The same names, of the library itself."""
    import torch
    from torch.nn.attention import flex_attention as flex

    def tensor(x):
        return torch.from_numpy(x) if isinstance(x, np.ndarray) else x

    def array(x):
        if isinstance(x, tuple):
            return tuple(map(array, x))
        return x.detach().numpy() if isinstance(x, torch.Tensor) else x

    def of_arrays(function):
        def call(*args, **options):
            given = {name: tensor(x) for name, x in options.items()}
            return array(function(*map(tensor, args), **given))

        return call

    def multihead_attention(num_heads, weight, bias, out_weight, out_bias):
        module = torch.nn.MultiheadAttention(weight.shape[1], num_heads, batch_first=True)
        names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        values = map(torch.from_numpy, (weight, bias, out_weight, out_bias))
        module.load_state_dict(dict(zip(names, values, strict=True)))
        return of_arrays(module)

    def create_block_mask(mask_mod, *sizes):
        return flex.create_block_mask(mask_mod, *sizes, device="cpu")

    sdpa = torch.nn.functional.scaled_dot_product_attention
    return {
        "F": SimpleNamespace(scaled_dot_product_attention=of_arrays(sdpa)),
        "flex_attention": of_arrays(flex.flex_attention),
        "create_block_mask": create_block_mask,
        "MultiheadAttention": multihead_attention,
    }
