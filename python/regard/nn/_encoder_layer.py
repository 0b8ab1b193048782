"""`TransformerEncoderLayer`: attention and a feed-forward layer, each with Add & Norm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import part
from regard.nn._attention import MultiHeadAttention
from regard.nn._dropout import seed_of
from regard.nn._feed_forward import FeedForward
from regard.nn._gradients import BackWithOptions, LayerGradients
from regard.nn._layer import Layer
from regard.nn._random import encoder_arrays
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
        cls,
        seed: int,
        *,
        features: int,
        num_heads: int,
        hidden: int,
        kv_heads: int | None = None,
        gated: bool = False,
        dtype: str = "float32",
        **settings: Unpack[Settings],
    ) -> TransformerEncoderLayer:
        """Make a layer with random weights; arguments as of `regard.nn.TransformerEncoder.random`.

        Parameters
        ----------
        seed, features, num_heads, hidden, kv_heads, gated, dtype, **settings
        """
        arrays = encoder_arrays(
            seed, 1, features, num_heads, hidden, kv_heads, gated, False, dtype, settings
        )
        return cls.from_state_dict(part(arrays, "layers.0."), num_heads=num_heads, **settings)

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
