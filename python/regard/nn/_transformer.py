"""`Transformer`: an encoder, and a decoder that attends to what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import part
from regard.nn._decoder import TransformerDecoder
from regard.nn._dropout import seed_of
from regard.nn._encoder import TransformerEncoder
from regard.nn._gradients import BackWithOptions, LayerGradients, named
from regard.nn._layer import Layer
from regard.nn._settings import Settings, check_built, check_settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

Array: TypeAlias = NDArray[Any]

_SOURCE = "src_"


@dataclass(eq=False, repr=False)
class Transformer(Layer):
    """The model of "Attention Is All You Need" between its embeddings [1]_.

    Parameters
    ----------
    encoder : TransformerEncoder
    decoder : TransformerDecoder

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> model = nn.Transformer.random(0, layers=2, features=8, num_heads=2, hidden=16)
    >>> source, target = np.ones((3, 7, 8), np.float32), np.ones((3, 5, 8), np.float32)
    >>> lengths = [7, 3, 5]
    >>> out, back = model.vjp(source, target, causal=True, src_key_lengths=lengths,
    ...                       memory_key_lengths=lengths)
    >>> out.shape, back(out).memory.shape
    ((3, 5, 8), (3, 7, 8))
    """

    encoder: TransformerEncoder
    decoder: TransformerDecoder

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, num_heads: int, **settings: Unpack[Settings]
    ) -> Transformer:
        """Make the model of ``torch.nn.Transformer``'s state dict.

        Parameters
        ----------
        arrays : mapping of str to array_like
            ``encoder.layers.0.self_attn.in_proj_weight`` ...
        num_heads : int
        **settings
            Those of `regard.nn.Settings`, for all layers.

        Raises
        ------
        ValueError
            A name is missing or unknown, or sizes do not fit.
        """
        check_settings(settings, cls.__name__)
        model = cls(
            TransformerEncoder.from_state_dict(
                part(arrays, "encoder."), num_heads=num_heads, **settings
            ),
            TransformerDecoder.from_state_dict(
                part(arrays, "decoder."), num_heads=num_heads, **settings
            ),
        )
        check_built(cls.__name__, model, arrays)
        return model

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        layers: int,
        features: int,
        num_heads: int,
        hidden: int,
        decoder_layers: int | None = None,
        **settings: Any,
    ) -> Transformer:
        """Make a model with random weights.

        Parameters
        ----------
        seed, layers, features, num_heads, hidden, **settings
            As of `regard.nn.TransformerEncoder.random`.
        decoder_layers : int, optional
            By default as many as of the encoder.
        """
        sizes: dict[str, Any] = {
            "features": features, "num_heads": num_heads, "hidden": hidden, "final_norm": True,
        }  # fmt: skip
        sizes |= settings
        first, second = seed_of(seed, 0), seed_of(seed, 1)
        assert first is not None
        assert second is not None
        return cls(
            TransformerEncoder.random(first, layers=layers, **sizes),
            TransformerDecoder.random(second, layers=decoder_layers or layers, **sizes),
        )

    def __call__(
        self,
        source: ArrayLike,
        target: ArrayLike,
        *,
        src_offsets: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Array:
        """Compute the decoder's rows.

        Parameters
        ----------
        source, target : array_like, shape (batch, tokens, features) or (tokens, features)
        src_offsets, offsets : array_like of int, optional
            Of packed rows of source and target; give both.
        seed : int, optional
            For dropout.
        **options
            Of `regard.attention` for the decoder's self attention; with ``src_`` in front for the
            encoder's, and with ``memory_`` for the attention to it.

        Returns
        -------
        ndarray, of the shape of target
        """
        own, of_source = _split(options)
        memory = self.encoder(source, offsets=src_offsets, seed=seed_of(seed, 0), **of_source)
        return self.decoder(
            target, memory, offsets=offsets, memory_offsets=src_offsets, seed=seed_of(seed, 1),
            **own,
        )  # fmt: skip

    def vjp(
        self,
        source: ArrayLike,
        target: ArrayLike,
        *,
        src_offsets: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> tuple[Array, BackWithOptions]:
        """Compute them, and return the way back: ``back(dout, wrt=())``.

        ``grads.x`` is by the target, ``grads.memory`` by the source.
        """
        own, of_source = _split(options)
        memory, back_encoder = self.encoder.vjp(
            source, offsets=src_offsets, seed=seed_of(seed, 0), **of_source
        )
        out, back_decoder = self.decoder.vjp(
            target, memory, offsets=offsets, memory_offsets=src_offsets, seed=seed_of(seed, 1),
            **own,
        )  # fmt: skip

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            names = list(wrt)
            of_decoder = [n for n in names if not n.startswith(_SOURCE)]
            of_encoder = [n.removeprefix(_SOURCE) for n in names if n.startswith(_SOURCE)]
            after = back_decoder(dout, of_decoder)
            assert after.memory is not None
            before = back_encoder(after.memory, of_encoder)
            parameters = named("encoder.", before.parameters)
            parameters |= named("decoder.", after.parameters)
            of_options = after.options | named(_SOURCE, before.options)
            return LayerGradients(after.x, parameters, before.x, options=of_options)

        return out, back


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options of the decoder from those of the encoder, ``src_...``."""
    own = {n: x for n, x in options.items() if not n.startswith(_SOURCE)}
    return own, part(options, _SOURCE)
