"""A causal transformer over the pixels of an image, row by row.

Chen, M. et al., "Generative Pretraining from Pixels", 2020, in small: the grey level of each pixel
is a token, and its distribution follows from the pixels before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import regard
from _models.vision.patches import grid_positions
from regard import nn
from regard.nn.training import cross_entropy_vjp

Array = NDArray[Any]
Parameters = dict[str, Array]
Back = Callable[[Array], Parameters]


@dataclass(eq=False, repr=False)
class PixelModel(nn.Layer):
    """Logits of the level of each pixel, from those before it.

    Parameters
    ----------
    embedding : Embedding, of (levels + 1, features)
        The last row stands in front of the first pixel.
    encoder : TransformerEncoder
    head : Linear
        To the levels.
    side : int
        Pixels of a row, and rows.
    """

    embedding: nn.Embedding
    encoder: nn.TransformerEncoder
    head: nn.Linear
    side: int

    @classmethod
    def random(
        cls, seed: int, *, side: int = 8, levels: int = 17, features: int = 64, layers: int = 3,
        heads: int = 4, dropout: float = 0.1, dtype: DTypeLike = np.float32,
    ) -> PixelModel:  # fmt: skip
        """Draw the weights; those of the head are 0, so that all levels are equally likely."""
        kind = np.dtype(dtype)
        table = np.random.default_rng(seed).standard_normal((levels + 1, features))
        encoder = nn.TransformerEncoder.random(
            seed, layers=layers, features=features, num_heads=heads, hidden=2 * features,
            activation="gelu", norm_first=True, dropout=dropout, dtype=kind.name,
        )  # fmt: skip
        head = nn.Linear(np.zeros((levels, features), kind), np.zeros(levels, kind))
        return cls(nn.Embedding((0.5 * table).astype(kind)), encoder, head, side)

    def __call__(self, images: Array) -> Array:
        """Logits (count, pixels, levels) of images (count, pixels) of levels."""
        return self.head(self.encoder(self._input(self._before(images)), causal=True))

    def vjp(self, images: Array, seed: int | None = None) -> tuple[Array, Back]:
        """Compute them, and return the way back to the parameters."""
        embedded, back_embedding = self.embedding.vjp(self._before(images))
        x, back_encoder = self.encoder.vjp(embedded + self._positions(), seed=seed, causal=True)
        logits, back_head = self.head.vjp(x)

        def back(dlogits: Array) -> Parameters:
            by_head = back_head(dlogits)
            by_encoder = back_encoder(by_head.x)
            by_embedding = back_embedding(by_encoder.x)
            parts = {"embedding": by_embedding, "encoder": by_encoder, "head": by_head}
            return {
                f"{at}.{name}": gradient
                for at, part in parts.items()
                for name, gradient in part.parameters.items()
            }

        return logits, back

    def loss_and_gradients(
        self, parameters: Parameters, images: Array, seed: int | None = None
    ) -> tuple[float, Parameters]:
        """Mean cross-entropy of a pixel, and its derivative by each parameter."""
        self.load_state_dict(parameters)
        logits, back = self.vjp(images, seed)
        loss, back_loss = cross_entropy_vjp(logits, images)
        return loss, back(back_loss())

    def complete(self, begun: Array, rng: np.random.Generator, temperature: float = 1.0) -> Array:
        """Draw the pixels that are missing of images (count, pixels that are there).

        Keys and values of the pixels so far are in a `regard.KVCache` for each layer.
        """
        count, start = begun.shape
        heads = self.encoder.layers[0].self_attn.heads
        caches = [
            regard.KVCache(
                count, kv_heads=heads.kv, head_dim=heads.head_dim,
                capacity=self.side**2, dtype="float32",
            )
            for _ in self.encoder.layers
        ]  # fmt: skip
        images = np.zeros((count, self.side**2), np.int64)
        images[:, :start] = begun
        new = self._before(images)[:, : start + 1]
        for pixel in range(start, self.side**2):
            at = slice(pixel + 1 - new.shape[1], pixel + 1)
            x = self.encoder(self._input(new, at), caches=caches)
            logits = self.head(x[:, -1]).astype(np.float64) / temperature
            gumbel = rng.gumbel(size=logits.shape)  # the largest sum is a draw from the softmax
            images[:, pixel] = np.argmax(logits + gumbel, axis=-1)
            new = images[:, pixel : pixel + 1]
        return images

    def _before(self, images: Array) -> Array:
        first = np.full((len(images), 1), len(self.head.weight), images.dtype)
        return np.concatenate([first, images[:, :-1]], axis=1)

    def _input(self, tokens: Array, at: slice = slice(None)) -> Array:
        x: Array = self.embedding(tokens) + self._positions()[at]
        return x

    def _positions(self) -> Array:
        kind = self.embedding.weight.dtype
        return grid_positions(self.side, self.side, self.embedding.weight.shape[1]).astype(kind)
