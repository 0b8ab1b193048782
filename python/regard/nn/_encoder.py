"""`TransformerEncoder`: a stack of layers, and a norm behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import counted, part
from regard.nn._dropout import seed_of
from regard.nn._encoder_layer import TransformerEncoderLayer
from regard.nn._gradients import BackWithOptions, LayerGradients, add_to, named
from regard.nn._layer import Layer
from regard.nn._random import encoder_arrays
from regard.nn._residual import Norm
from regard.nn._settings import (
    Settings,
    check_built,
    check_settings,
    norm_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard.cache import KVCache, PagedKVCache

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class TransformerEncoder(Layer):
    """A stack of encoder layers, and a norm behind them if there is one.

    Parameters
    ----------
    layers : tuple of TransformerEncoderLayer
    norm : LayerNorm or RMSNorm, optional

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> encoder = nn.TransformerEncoder.random(0, layers=2, features=8, num_heads=2, hidden=16)
    >>> texts = [np.ones((n, 8), np.float32) for n in (3, 1, 4)]
    >>> rows, offsets = nn.pack(texts)
    >>> encoder(rows, offsets=offsets).shape
    (8, 8)
    >>> out, back = encoder.vjp(rows, offsets=offsets)
    >>> grads = back(out)
    >>> grads.parameters["layers.1.linear1.weight"].shape
    (16, 8)
    """

    layers: tuple[TransformerEncoderLayer, ...]
    norm: Norm | None = None

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, num_heads: int, **settings: Unpack[Settings]
    ) -> TransformerEncoder:
        """Make the stack of ``torch.nn.TransformerEncoder``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
            ``layers.0.self_attn.in_proj_weight`` ..., and norm.weight if there is a last norm. How
            many layers there are, and all sizes, are inferred.
        num_heads : int
        **settings
            Those of `regard.nn.Settings`, for all layers.

        Raises
        ------
        ValueError
            A name is missing or unknown, or sizes do not fit.
        """
        check_settings(settings, cls.__name__)
        layers = tuple(
            TransformerEncoderLayer.from_state_dict(own, num_heads=num_heads, **settings)
            for own in counted(arrays, "layers.", cls.__name__)
        )
        norm = norm_of(arrays, "norm.", settings) if part(arrays, "norm.") else None
        stack = cls(layers, norm)
        check_built(cls.__name__, stack, arrays)
        return stack

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        layers: int,
        features: int,
        num_heads: int,
        hidden: int,
        kv_heads: int | None = None,
        gated: bool = False,
        final_norm: bool | None = None,
        dtype: str = "float32",
        **settings: Unpack[Settings],
    ) -> TransformerEncoder:
        """Make a stack with random weights, to be trained.

        Parameters
        ----------
        seed : int
        layers, features, num_heads, hidden : int
        kv_heads : int, optional
            Heads of keys and values; by default as many as of queries.
        gated : bool, default False
            Whether feed-forward layers have a gate.
        final_norm : bool, optional
            By default norm_first: what is added up is then normalised once, at the end.
        dtype : {"float32", "float64"}
        **settings
            Those of `regard.nn.Settings`.

        Notes
        -----
        Weights are drawn uniformly within ``sqrt(6 / (inputs + outputs))`` (Glorot and Bengio
        2010), as PyTorch's Transformer does; biases are 0 and gains 1.
        """
        last = settings.get("norm_first", False) if final_norm is None else final_norm
        arrays = encoder_arrays(
            seed, layers, features, num_heads, hidden, kv_heads, gated, last, dtype, settings
        )
        return cls.from_state_dict(arrays, num_heads=num_heads, **settings)

    def __call__(
        self,
        x: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        caches: Sequence[KVCache | PagedKVCache] | None = None,
        **options: Any,
    ) -> Array:
        """Compute it for x (batch, tokens, features), (tokens, features), or packed rows.

        Parameters
        ----------
        x : array_like
        offsets : array_like of int, optional
            Of packed rows, as `pack` returns them.
        seed : int, optional
            For dropout, which there is none of without.
        caches : sequence of KVCache or PagedKVCache, optional
            One for each layer: the stack of a language model, which generates.
        **options
            Of `regard.attention`, for every layer; positions; sequences of paged caches.

        Returns
        -------
        ndarray, of the shape of x
        """
        y = np.asarray(x)
        for number, layer in enumerate(self.layers):
            cache = cache_of(caches, number, len(self.layers), "caches")
            y = layer(y, offsets=offsets, seed=seed_of(seed, number), cache=cache, **options)
        return y if self.norm is None else self.norm(y)

    def vjp(
        self,
        x: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> tuple[Array, BackWithOptions]:
        """Compute it, and return the way back: ``back(dout, wrt=())``.

        Gradients by options that the layers share are summed.
        """
        y = np.asarray(x)
        backs = []
        for number, layer in enumerate(self.layers):
            y, back_layer = layer.vjp(y, offsets=offsets, seed=seed_of(seed, number), **options)
            backs.append(back_layer)
        if self.norm is not None:
            y, back_norm = self.norm.vjp(y)

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            dx, names = np.asarray(dout), tuple(wrt)
            parameters: dict[str, Array] = {}
            of_options: dict[str, Array] = {}
            if self.norm is not None:
                last = back_norm(dx)
                dx, parameters = last.x, named("norm.", last.parameters)
            for number in reversed(range(len(backs))):
                grads = backs[number](dx, names)
                dx = grads.x
                parameters = named(f"layers.{number}.", grads.parameters) | parameters
                add_to(of_options, grads.options)
            return LayerGradients(dx, parameters, options=of_options)

        return y, back


def cache_of(caches: Sequence[Any] | None, number: int, layers: int, name: str) -> Any:
    """Take the cache of a layer.

    Raises
    ------
    ValueError
        There are not as many as layers.
    """
    if caches is None:
        return None
    if len(caches) != layers:
        raise ValueError(
            f"{name} has {len(caches)} caches for {layers} layers.\n  Give one for each layer."
        )
    return caches[number]
