"""`TransformerEncoderLayer`, and `TransformerEncoder`, a stack of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import counted, part
from regard.nn._attention import MultiHeadAttention
from regard.nn._dropout import seed_of
from regard.nn._feed_forward import FeedForward
from regard.nn._gradients import BackWithOptions, LayerGradients, add_to, named
from regard.nn._layer import Layer
from regard.nn._residual import Norm, add_branch, add_branch_vjp, without_options
from regard.nn._settings import (
    Settings,
    check_built,
    check_settings,
    feed_forward,
    norm_of,
    self_attention,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard.cache import KVCache, PagedKVCache

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class TransformerEncoderLayer(Layer):
    """Self attention, then a feed-forward layer, each with Add & Norm [1]_.

    ``x = norm1(x + self_attn(x)); x = norm2(x + feed_forward(x))``, or with norm_first
    ``x = x + self_attn(norm1(x)); x = x + feed_forward(norm2(x))``. With ``causal=True`` it is the
    layer of a language model.

    Parameters
    ----------
    self_attn : MultiHeadAttention
    feed_forward : FeedForward
        Its linear1 and linear2 have no prefix in the state dict, as in PyTorch.
    norm1, norm2 : LayerNorm or RMSNorm
    norm_first : bool, default False
    dropout : float, default 0
        Of what each branch adds, in calls with a seed.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> layer = nn.TransformerEncoderLayer.random(0, features=8, num_heads=2, hidden=16)
    >>> list(layer.state_dict())[:3]
    ['self_attn.in_proj_weight', 'self_attn.in_proj_bias', 'self_attn.out_proj.weight']
    >>> layer(np.ones((3, 5, 8), np.float32), causal=True).shape
    (3, 5, 8)
    """

    self_attn: MultiHeadAttention
    feed_forward: FeedForward = field(metadata={"inline": True})
    norm1: Norm
    norm2: Norm
    norm_first: bool = False
    dropout: float = 0.0

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, num_heads: int, **settings: Unpack[Settings]
    ) -> TransformerEncoderLayer:
        """Make the layer of ``torch.nn.TransformerEncoderLayer``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
        num_heads : int
        **settings
            `regard.nn.Settings`: activation, norm_first, norm, eps, dropout, rope, position_bias,
            options.

        Raises
        ------
        ValueError
            A name is missing or unknown, or sizes do not fit.
        """
        check_settings(settings, cls.__name__)
        layer = cls(
            self_attention(arrays, "self_attn.", num_heads, settings),
            feed_forward(arrays, settings),
            norm_of(arrays, "norm1.", settings),
            norm_of(arrays, "norm2.", settings),
            settings.get("norm_first", False),
            settings.get("dropout", 0.0),
        )
        check_built(cls.__name__, layer, arrays)
        return layer

    @classmethod
    def random(
        cls, seed: int, *, features: int, num_heads: int, hidden: int, **options: Any
    ) -> TransformerEncoderLayer:
        """Make a layer with random weights, as `regard.nn.TransformerEncoder.random` does."""
        stack = TransformerEncoder.random(
            seed, layers=1, features=features, num_heads=num_heads, hidden=hidden, **options
        )
        return stack.layers[0]

    def __call__(
        self,
        x: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        cache: KVCache | PagedKVCache | None = None,
        **options: Any,
    ) -> Array:
        """Compute it for x (batch, tokens, features), (tokens, features), or packed rows.

        Parameters
        ----------
        x : array_like
        offsets : array_like of int, optional
            Of packed rows.
        seed : int, optional
            For dropout.
        cache : KVCache or PagedKVCache, optional
            As in `MultiHeadAttention`, with its sequences.
        **options
            Of `regard.attention`, and positions.

        Returns
        -------
        ndarray, of the shape of x
        """

        def attend(h: Array) -> Array:
            return self.self_attn(h, offsets=offsets, seed=seed_of(seed, 0), cache=cache, **options)

        def feed(h: Array) -> Array:
            return self.feed_forward(h, seed=seed_of(seed, 2))

        first, drop = self.norm_first, self.dropout
        y = add_branch(np.asarray(x), attend, self.norm1, first, drop, seed_of(seed, 1))
        return add_branch(y, feed, self.norm2, first, drop, seed_of(seed, 3))

    def vjp(
        self,
        x: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> tuple[Array, BackWithOptions]:
        """Compute it, and return the way back: ``back(dout, wrt=())``."""

        def attend(h: Array) -> tuple[Array, BackWithOptions]:
            return self.self_attn.vjp(h, offsets=offsets, seed=seed_of(seed, 0), **options)

        feed = without_options(lambda h: self.feed_forward.vjp(h, seed=seed_of(seed, 2)))
        first, drop = self.norm_first, self.dropout
        y, back1 = add_branch_vjp(
            np.asarray(x), attend, self.norm1, first, drop, seed_of(seed, 1),
            ("norm1.", "self_attn."),
        )  # fmt: skip
        out, back2 = add_branch_vjp(
            y, feed, self.norm2, first, drop, seed_of(seed, 3), ("norm2.", "")
        )

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            after = back2(dout)
            before = back1(after.x, wrt)
            parameters = before.parameters | after.parameters
            return LayerGradients(before.x, parameters, options=before.options)

        return out, back


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
        from regard.nn._random import encoder_arrays

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
