"""`TransformerDecoder`: a stack of layers, and a norm behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import counted, part
from regard.nn._decoder_layer import TransformerDecoderLayer
from regard.nn._dropout import seed_of
from regard.nn._encoder import cache_of
from regard.nn._gradients import BackWithOptions, LayerGradients, add_to, named
from regard.nn._layer import Layer
from regard.nn._random import decoder_arrays
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

_MEMORY = "memory_"


@dataclass(eq=False, repr=False)
class TransformerDecoder(Layer):
    """A stack of decoder layers, and a norm behind them if there is one.

    Parameters
    ----------
    layers : tuple of TransformerDecoderLayer
    norm : LayerNorm or RMSNorm, optional

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> decoder = nn.TransformerDecoder.random(0, layers=2, features=8, num_heads=2, hidden=16)
    >>> x, memory = np.ones((3, 5, 8), np.float32), np.ones((3, 7, 8), np.float32)
    >>> decoder(x, memory, causal=True).shape
    (3, 5, 8)
    """

    layers: tuple[TransformerDecoderLayer, ...]
    norm: Norm | None = None

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, num_heads: int, **settings: Unpack[Settings]
    ) -> TransformerDecoder:
        """Make the stack of ``torch.nn.TransformerDecoder``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
            ``layers.0.self_attn.in_proj_weight`` ..., and norm.weight if there is a last norm.
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
            TransformerDecoderLayer.from_state_dict(own, num_heads=num_heads, **settings)
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
    ) -> TransformerDecoder:
        """Make a stack with random weights; arguments as of `regard.nn.TransformerEncoder.random`.

        Parameters
        ----------
        seed, layers, features, num_heads, hidden, kv_heads, gated, final_norm, dtype, **settings
        """
        last = settings.get("norm_first", False) if final_norm is None else final_norm
        arrays = decoder_arrays(
            seed, layers, features, num_heads, hidden, kv_heads, gated, last, dtype, settings
        )
        return cls.from_state_dict(arrays, num_heads=num_heads, **settings)

    def __call__(
        self,
        x: ArrayLike,
        memory: ArrayLike | None = None,
        *,
        offsets: ArrayLike | None = None,
        memory_offsets: ArrayLike | None = None,
        seed: int | None = None,
        caches: Sequence[KVCache | PagedKVCache] | None = None,
        memory_caches: Sequence[KVCache | PagedKVCache] | None = None,
        **options: Any,
    ) -> Array:
        """Compute it; arguments as of `TransformerDecoderLayer`, caches one for each layer.

        Parameters
        ----------
        x, memory, offsets, memory_offsets, seed, **options
        caches, memory_caches : sequence of KVCache or PagedKVCache, optional

        Returns
        -------
        ndarray, of the shape of x
        """
        y, count = np.asarray(x), len(self.layers)
        for number, layer in enumerate(self.layers):
            y = layer(
                y, memory, offsets=offsets, memory_offsets=memory_offsets,
                seed=seed_of(seed, number), cache=cache_of(caches, number, count, "caches"),
                memory_cache=cache_of(memory_caches, number, count, "memory_caches"), **options,
            )  # fmt: skip
        return y if self.norm is None else self.norm(y)

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
        y = np.asarray(x)
        backs = []
        for number, layer in enumerate(self.layers):
            y, back_layer = layer.vjp(
                y, memory, offsets=offsets, memory_offsets=memory_offsets,
                seed=seed_of(seed, number), **options,
            )  # fmt: skip
            backs.append(back_layer)
        if self.norm is not None:
            y, back_norm = self.norm.vjp(y)

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            dx, names = np.asarray(dout), tuple(wrt)
            parameters: dict[str, Array] = {}
            of_options: dict[str, Array] = {}
            dmemory = np.zeros_like(np.asarray(memory))
            if self.norm is not None:
                last = back_norm(dx)
                dx, parameters = last.x, named("norm.", last.parameters)
            for number in reversed(range(len(backs))):
                grads = backs[number](dx, names)
                dx = grads.x
                dmemory += grads.memory
                parameters = named(f"layers.{number}.", grads.parameters) | parameters
                add_to(of_options, grads.options)
            return LayerGradients(dx, parameters, dmemory, options=of_options)

        return y, back
