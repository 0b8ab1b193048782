"""``scaled_dot_product_attention`` with the arguments, the meaning and the errors of PyTorch's."""

from __future__ import annotations

from typing import Any

import torch

from regard.torch._attention import attention, rounded_by_autocast
from regard.torch._tensors import check_tensor

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Take the place of ``torch.nn.functional.scaled_dot_product_attention``.

    Parameters
    ----------
    query : Tensor, shape (..., Hq, L, E)
        float32, float64, float16 or bfloat16.
    key : Tensor, shape (..., H, S, E)
    value : Tensor, shape (..., H, S, Ev)
        Leading axes broadcast, that of the heads too.
    attn_mask : Tensor, broadcasts to (..., Hq, L, S), optional
        bool, True = attend; or floats that are added to the scores, in the dtype of query or
        float32. The latter may require a gradient.
    dropout_p : float, default 0
        Always in force, as there. Drawn by a seed from PyTorch's generator, so that
        ``torch.manual_seed`` repeats it; other weights than PyTorch would drop.
    is_causal : bool, default False
        Query i sees keys up to i (upper-left), whatever L and S are.
    scale : float, optional
        Default ``1 / sqrt(E)``.
    enable_gqa : bool, default False
        Hq may be a multiple of the heads of key and value, which are not repeated in memory.

    Returns
    -------
    Tensor, shape (..., Hq, L, Ev)
        A query that sees no key gives 0, as in PyTorch.

    Raises
    ------
    RuntimeError
        Shapes or dtypes do not fit, or attn_mask comes with is_causal: where PyTorch's function
        has no kernel, or the definition does not allow it. (Some of its kernels read out of
        bounds or leave one of the two masks out instead.)
    TypeError
        An argument is no tensor, one of another device, or nested.
    ValueError
        scale is not finite.

    See Also
    --------
    attention : Lengths, windows, softcap, sinks, position biases and the rest.

    Examples
    --------
    >>> import torch
    >>> import regard.torch
    >>> query, key, value = torch.randn(3, 2, 8, 100, 16)
    >>> ours = regard.torch.scaled_dot_product_attention(query, key, value, is_causal=True)
    >>> torch.allclose(ours, torch.nn.functional.scaled_dot_product_attention(
    ...     query, key, value, is_causal=True), atol=1e-5)
    True
    """
    tensors = {"query": query, "key": key, "value": value}
    if attn_mask is not None:
        tensors["attn_mask"] = attn_mask
    for name, x in tensors.items():
        check_tensor(x, name)
    _check_words(dropout_p, is_causal, scale, enable_gqa)
    if torch.is_autocast_enabled("cpu"):
        rounded_by_autocast(tensors)
    query, key, value, attn_mask = (tensors.get(n) for n in ("query", "key", "value", "attn_mask"))
    _check_inputs(query, key, value)
    query, key, value = (_grouped if enable_gqa else _broadcast)(query, key, value)
    if query.shape[-1] == 0:  # all scores are 0, and there is no scale for none of them
        (query, key), scale = (torch.nn.functional.pad(x, (0, 1)) for x in (query, key)), 1.0
    options: dict[str, Any] = {"causal": "upper_left"} if is_causal else {}
    if attn_mask is not None:
        _check_mask(attn_mask, query, key, value, is_causal)
        if query.dtype == torch.float64 and attn_mask.dtype == torch.float32:
            attn_mask = attn_mask.double()  # which attention does not mix
        options["mask" if attn_mask.dtype == torch.bool else "bias"] = attn_mask
    if scale is not None:
        options["scale"] = scale
    if dropout_p == 1.0:
        return attention(query, key, value, **options) * 0.0
    if dropout_p > 0.0:
        options["dropout"] = dropout_p
        options["seed"] = torch.randint(2**63 - 1, ())
    out: torch.Tensor = attention(query, key, value, **options)
    return out


def _check_words(dropout_p: Any, is_causal: Any, scale: Any, enable_gqa: Any) -> None:
    for name, x in (("is_causal", is_causal), ("enable_gqa", enable_gqa)):
        if not isinstance(x, bool):
            raise TypeError(f"{_NAME}: {name} is {x!r}.\n  Give True or False.")
    for name, x in (("dropout_p", dropout_p), ("scale", scale)):
        if isinstance(x, (str, bytes)) or (x is None and name == "dropout_p"):
            raise TypeError(f"{_NAME}: {name} is {x!r}.\n  Give a number.")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(
            f"{_NAME}: dropout_p is {dropout_p}.\n  Give a probability, between 0 and 1."
        )


def _check_inputs(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
    shapes = (
        f"  query {tuple(query.shape)} {query.dtype}\n  key   {tuple(key.shape)} {key.dtype}\n"
        f"  value {tuple(value.shape)} {value.dtype}\n"
    )
    if min(x.dim() for x in (query, key, value)) < 2:
        raise RuntimeError(f"{_NAME}: an input has fewer than 2 axes.\n{shapes}  Give (..., L, E).")
    if not query.dtype == key.dtype == value.dtype or not query.dtype.is_floating_point:
        raise RuntimeError(
            f"{_NAME}: query, key and value have no floating dtype in common.\n{shapes}"
            "  Bring them to one."
        )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise RuntimeError(
            f"{_NAME}: query, key and value do not fit.\n{shapes}"
            "  Give (..., L, E), (..., S, E) and (..., S, Ev)."
        )


def _broadcast(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Heads broadcast to those of the others; batch axes are left to attention."""
    lead = _broadcast_shapes(
        "leading axes of query, key and value", *(x.shape[:-2] for x in inputs)
    )
    if not lead:
        return inputs
    heads = lead[-1]
    query, key, value = (x if x.dim() > 2 else x.unsqueeze(0) for x in inputs)
    if query.shape[-3] != heads:
        query = query.expand(*query.shape[:-3], heads, -1, -1)
    if key.shape[-3] != value.shape[-3]:
        key, value = (x.expand(*x.shape[:-3], heads, -1, -1) for x in (key, value))
    return query, key, value


def _grouped(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Check the heads of a grouped call; they are repeated only where key and value differ."""
    query, key, value = inputs
    if min(x.dim() for x in inputs) < 3:
        raise RuntimeError(
            f"{_NAME}: an input has fewer than 3 axes.\n  With enable_gqa give (..., heads, L, E)."
        )
    heads, of_key, of_value = (x.shape[-3] for x in inputs)
    if not (of_key and of_value) or heads % of_key or heads % of_value:
        raise RuntimeError(
            f"{_NAME}: query has {heads} heads, key {of_key} and value {of_value}.\n  Number of "
            "heads in key and value must divide the number of heads in query."
        )
    _broadcast_shapes("batch axes of query, key and value", *(x.shape[:-3] for x in inputs))
    if of_key != of_value:
        key = key.repeat_interleave(heads // of_key, -3)
        value = value.repeat_interleave(heads // of_value, -3)
    return query, key, value


def _check_mask(
    mask: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    is_causal: bool,
) -> None:
    if is_causal:
        raise RuntimeError(
            f"{_NAME}: there are an attn_mask and is_causal.\n  Explicit attn_mask should not be "
            "set when is_causal=True: put both in one mask, or use regard.torch.attention."
        )
    if mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise RuntimeError(
            f"{_NAME}: attn_mask has dtype {mask.dtype}, query {query.dtype}.\n  Expected "
            "attn_mask dtype to be bool or float or to match query dtype."
        )
    batch = torch.broadcast_shapes(*(x.shape[:-3] for x in (query, key, value)))
    scores = (*batch, *query.shape[-3:-1], key.shape[-2])
    if _broadcast_shapes("attn_mask and the scores", mask.shape, scores) != scores:
        raise RuntimeError(
            f"{_NAME}: attn_mask has shape {tuple(mask.shape)}, the scores {scores}.\n  Give what "
            "broadcasts to the scores."
        )


def _broadcast_shapes(what: str, *shapes: Any) -> tuple[Any, ...]:
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        raise RuntimeError(
            f"{_NAME}: {what} do not broadcast: {', '.join(str(tuple(x)) for x in shapes)}.\n"
            "  Each axis must match or be 1."
        ) from None
