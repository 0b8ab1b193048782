"""What state dicts do not say: the settings that encoders and decoders are made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from numpy.typing import ArrayLike

from regard.bias import PositionBias
from regard.nn._activations import Activation
from regard.nn._arrays import part
from regard.nn._attention import MultiHeadAttention
from regard.nn._feed_forward import FeedForward
from regard.nn._layer import Layer, check_names
from regard.nn._norms import LayerNorm, RMSNorm
from regard.positions import Rope


class Settings(TypedDict, total=False):
    """Settings of the layers of an encoder or decoder, with PyTorch's defaults.

    Attributes
    ----------
    activation : str or Activation, default "relu"
    norm_first : bool, default False
        Norms in front of each branch (pre-norm), or behind each sum (post-norm).
    norm : {"layer", "rms"}, default "layer"
    eps : float, default 1e-5
        Of the norms.
    dropout : float, default 0
        Used in calls with a seed.
    rope : Rope, optional
        Of the self attentions.
    position_bias : PositionBias, optional
        Of the self attentions; each layer learns its own table, which a state dict may have.
    options : dict, optional
        Options of `regard.attention` for each call of the self attentions.
    """

    activation: str | Activation
    norm_first: bool
    norm: Literal["layer", "rms"]
    eps: float
    dropout: float
    rope: Rope | None
    position_bias: PositionBias | None
    options: dict[str, Any] | None


def check_settings(settings: Mapping[str, Any], layer: str) -> None:
    """Refuse settings that there are not.

    Raises
    ------
    TypeError
        One has an unknown name.
    """
    known = Settings.__annotations__
    for name in settings:
        if name not in known:
            raise TypeError(
                f"{layer}: there is no setting {name}.\n  There are {', '.join(known)}."
            )


def self_attention(
    arrays: Mapping[str, ArrayLike], prefix: str, num_heads: int, settings: Settings
) -> MultiHeadAttention:
    """Make a self attention of the arrays behind a prefix."""
    return MultiHeadAttention.from_state_dict(
        part(arrays, prefix),
        num_heads=num_heads,
        dropout=settings.get("dropout", 0.0),
        rope=settings.get("rope"),
        position_bias=settings.get("position_bias"),
        options=settings.get("options"),
    )


def feed_forward(arrays: Mapping[str, ArrayLike], settings: Settings) -> FeedForward:
    """Make linear1, linear2 and gate, which stand beside the attention in a state dict."""
    own = {n: x for n, x in arrays.items() if n.split(".")[0] in ("linear1", "linear2", "gate")}
    return FeedForward.from_state_dict(
        own, activation=settings.get("activation", "relu"), dropout=settings.get("dropout", 0.0)
    )


def norm_of(
    arrays: Mapping[str, ArrayLike], prefix: str, settings: Settings
) -> LayerNorm | RMSNorm:
    """Make a norm of the arrays behind a prefix.

    Raises
    ------
    ValueError
        There is no such norm.
    """
    kind, eps = settings.get("norm", "layer"), settings.get("eps", 1e-5)
    if kind == "layer":
        return LayerNorm.from_state_dict(part(arrays, prefix), eps=eps)
    if kind == "rms":
        return RMSNorm.from_state_dict(part(arrays, prefix), eps=eps)
    raise ValueError(f"norm is {kind!r}.\n  Give 'layer' or 'rms'.")


def check_built(name: str, layer: Layer, arrays: Mapping[str, ArrayLike]) -> None:
    """Refuse a state dict with other names than the layer that was made of it.

    The table of a position bias may be missing: it is then the one of the setting.
    """
    own = layer.state_dict()
    tables = {n: x for n, x in own.items() if n.endswith("position_bias.table")}
    check_names(name, own, {**tables, **arrays})
