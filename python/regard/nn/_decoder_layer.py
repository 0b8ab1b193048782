"""`TransformerDecoderLayer`: attention and a feed-forward layer, each with Add & Norm."""

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
from regard.nn._gradients import BackWithOptions, LayerGradients, named
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

_MEMORY = "memory_"


@dataclass(eq=False, repr=False)
class TransformerDecoderLayer(Layer):
    """Self attention, attention to a memory, then a feed-forward layer, each with Add & Norm [1]_.

    Parameters
    ----------
    self_attn : MultiHeadAttention
    multihead_attn : MultiHeadAttention
        To the memory, as PyTorch calls it.
    feed_forward : FeedForward
    norm1, norm2, norm3 : LayerNorm or RMSNorm
    norm_first : bool, default False
    dropout : float, default 0

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> layer = nn.TransformerDecoder.random(
    ...     0, layers=1, features=8, num_heads=2, hidden=16).layers[0]
    >>> x, memory = np.ones((3, 5, 8), np.float32), np.ones((3, 7, 8), np.float32)
    >>> out, back = layer.vjp(x, memory, causal=True, memory_key_lengths=[7, 3, 5])
    >>> back(out).memory.shape
    (3, 7, 8)
    """

    self_attn: MultiHeadAttention
    multihead_attn: MultiHeadAttention
    feed_forward: FeedForward = field(metadata={"inline": True})
    norm1: Norm
    norm2: Norm
    norm3: Norm
    norm_first: bool = False
    dropout: float = 0.0

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, num_heads: int, **settings: Unpack[Settings]
    ) -> TransformerDecoderLayer:
        """Make the layer of ``torch.nn.TransformerDecoderLayer``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
        num_heads : int
        **settings
            Those of `regard.nn.Settings`; rope, position_bias and options are of self_attn.

        Raises
        ------
        ValueError
            A name is missing or unknown, or sizes do not fit.
        """
        check_settings(settings, cls.__name__)
        layer = cls(
            self_attention(arrays, "self_attn.", num_heads, settings),
            MultiHeadAttention.from_state_dict(
                part(arrays, "multihead_attn."),
                num_heads=num_heads,
                dropout=settings.get("dropout", 0.0),
            ),
            feed_forward(arrays, settings),
            norm_of(arrays, "norm1.", settings),
            norm_of(arrays, "norm2.", settings),
            norm_of(arrays, "norm3.", settings),
            settings.get("norm_first", False),
            settings.get("dropout", 0.0),
        )
        check_built(cls.__name__, layer, arrays)
        return layer

    def __call__(
        self,
        x: ArrayLike,
        memory: ArrayLike | None = None,
        *,
        offsets: ArrayLike | None = None,
        memory_offsets: ArrayLike | None = None,
        seed: int | None = None,
        cache: KVCache | PagedKVCache | None = None,
        memory_cache: KVCache | PagedKVCache | None = None,
        **options: Any,
    ) -> Array:
        """Compute it for x (batch, tokens, features), (tokens, features), or packed rows.

        Parameters
        ----------
        x : array_like
        memory : array_like, optional
            Rows of the encoder; not needed once a memory_cache holds their keys and values.
        offsets, memory_offsets : array_like of int, optional
            Of packed rows of x, and of the memory.
        seed : int, optional
            For dropout.
        cache : KVCache or PagedKVCache, optional
            Of the self attention, which is then causal by default.
        memory_cache : KVCache or PagedKVCache, optional
            Keys and values of a memory that is given are put into it; without a memory they are
            what is attended to.
        **options
            Of `regard.attention` for the self attention, and for the attention to the memory with
            ``memory_`` in front: ``memory_mask``, ``memory_key_lengths`` ...

        Returns
        -------
        ndarray, of the shape of x
        """
        own, of_memory = split_options(options)
        sequences = own.get("sequences")

        def attend(h: Array) -> Array:
            return self.self_attn(h, offsets=offsets, seed=seed_of(seed, 0), cache=cache, **own)

        def cross(h: Array) -> Array:
            attn = self.multihead_attn
            if memory_cache is not None:
                named_ = {"sequences": sequences, **of_memory}
                if memory is None:
                    return attn.attend(h, memory_cache, offsets=offsets, **named_)
                return attn(h, memory, cache=memory_cache, offsets=offsets, **named_)
            if memory is None:
                raise TypeError(
                    "TransformerDecoderLayer: memory is missing.\n  Give the encoder's rows, or a "
                    "memory_cache that holds their keys and values."
                )
            return attn(
                h, memory, offsets=offsets, memory_offsets=memory_offsets, seed=seed_of(seed, 2),
                **of_memory,
            )  # fmt: skip

        def feed(h: Array) -> Array:
            return self.feed_forward(h, seed=seed_of(seed, 4))

        first, drop = self.norm_first, self.dropout
        y = add_branch(np.asarray(x), attend, self.norm1, first, drop, seed_of(seed, 1))
        y = add_branch(y, cross, self.norm2, first, drop, seed_of(seed, 3))
        return add_branch(y, feed, self.norm3, first, drop, seed_of(seed, 5))

    def vjp(
        self,
        x: ArrayLike,
        memory: ArrayLike,
        *,
        offsets: ArrayLike | None = None,
        memory_offsets: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> tuple[Array, BackWithOptions]:
        """Compute it, and return the way back: ``back(dout, wrt=())``, with ``grads.memory``."""
        own, of_memory = split_options(options)

        def attend(h: Array) -> tuple[Array, BackWithOptions]:
            return self.self_attn.vjp(h, offsets=offsets, seed=seed_of(seed, 0), **own)

        def cross(h: Array) -> tuple[Array, BackWithOptions]:
            return self.multihead_attn.vjp(
                h, memory, offsets=offsets, memory_offsets=memory_offsets, seed=seed_of(seed, 2),
                **of_memory,
            )  # fmt: skip

        feed = without_options(lambda h: self.feed_forward.vjp(h, seed=seed_of(seed, 4)))
        first, drop = self.norm_first, self.dropout
        y, back1 = add_branch_vjp(
            np.asarray(x), attend, self.norm1, first, drop, seed_of(seed, 1),
            ("norm1.", "self_attn."),
        )  # fmt: skip
        y, back2 = add_branch_vjp(
            y, cross, self.norm2, first, drop, seed_of(seed, 3), ("norm2.", "multihead_attn.")
        )
        out, back3 = add_branch_vjp(
            y, feed, self.norm3, first, drop, seed_of(seed, 5), ("norm3.", "")
        )

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            wrt_own, wrt_memory = split_names(wrt)
            third = back3(dout)
            second = back2(third.x, wrt_memory)
            one = back1(second.x, wrt_own)
            parameters = one.parameters | second.parameters | third.parameters
            of_options = one.options | named(_MEMORY, second.options)
            return LayerGradients(one.x, parameters, second.memory, options=of_options)

        return out, back


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of the self attention from those of the memory, ``memory_...``."""
    own = {n: x for n, x in options.items() if not n.startswith(_MEMORY)}
    return own, part(options, _MEMORY)


def split_names(wrt: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part names of options likewise."""
    names = list(wrt)
    return (
        [n for n in names if not n.startswith(_MEMORY)],
        [n.removeprefix(_MEMORY) for n in names if n.startswith(_MEMORY)],
    )
