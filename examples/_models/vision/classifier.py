"""A vision transformer (ViT) that says what is in an image: patches, an encoder, a class token.

Dosovitskiy, A. et al., "An Image is Worth 16x16 Words", 2021, with sinusoidal positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from regard import nn
from regard.nn.training import cross_entropy_vjp

from .patches import grid_positions, patches

Array = NDArray[Any]
Parameters = dict[str, Array]
Back = Callable[[Array], Parameters]


@dataclass(eq=False, repr=False)
class Classifier(nn.Layer):
    """Logits of the classes, of the class token behind the last layer.

    Parameters
    ----------
    patch : Linear
        From the pixels of a patch.
    class_token : ndarray, shape (features,)
    encoder : TransformerEncoder
    head : Linear
        To the classes.
    window, stride : int
        Pixels of a patch's side, and from one patch to the next.
    """

    patch: nn.Linear
    class_token: Array
    encoder: nn.TransformerEncoder
    head: nn.Linear
    window: int
    stride: int

    @classmethod
    def random(
        cls, seed: int, *, window: int, stride: int, features: int = 64, layers: int = 4,
        heads: int = 4, classes: int = 10, dropout: float = 0.0, dtype: DTypeLike = np.float32,
    ) -> Classifier:  # fmt: skip
        """Draw the weights; those of the head are 0."""
        rng = np.random.default_rng(seed)
        kind = np.dtype(dtype)
        encoder = nn.TransformerEncoder.random(
            seed, layers=layers, features=features, num_heads=heads, hidden=2 * features,
            activation="gelu", norm_first=True, dropout=dropout, dtype=kind.name,
        )  # fmt: skip
        pixels = window * window
        weight = rng.standard_normal((features, pixels)) * pixels**-0.5
        return cls(
            nn.Linear(weight.astype(kind), np.zeros(features, kind)),
            np.zeros(features, kind),
            encoder,
            nn.Linear(np.zeros((classes, features), kind), np.zeros(classes, kind)),
            window,
            stride,
        )

    def __call__(self, images: Array) -> Array:
        """Logits (count, classes) of images (count, height, width)."""
        return self.vjp(images)[0]

    def vjp(self, images: Array, seed: int | None = None) -> tuple[Array, Back]:
        """Compute them, and return the way back to the parameters."""
        x, back_patch = self.patch.vjp(patches(images, self.window, self.stride))
        x, back_encoder = self.encoder.vjp(self._tokens(x, images.shape), seed=seed)
        logits, back_head = self.head.vjp(x[:, 0])

        def back(dlogits: Array) -> Parameters:
            by_head = back_head(dlogits)
            dx = np.zeros_like(x)
            dx[:, 0] = by_head.x
            by_encoder = back_encoder(dx)
            by_patch = back_patch(by_encoder.x[:, 1:])
            parts = {"patch": by_patch, "encoder": by_encoder, "head": by_head}
            return {
                "class_token": by_encoder.x[:, 0].sum(axis=0),
                **{f"{at}.{name}": g for at, part in parts.items()
                   for name, g in part.parameters.items()},
            }  # fmt: skip

        return logits, back

    def loss_and_gradients(
        self, parameters: Parameters, images: Array, labels: Array, seed: int | None = None
    ) -> tuple[float, Parameters]:
        """Mean cross-entropy, and its derivative by each parameter."""
        self.load_state_dict(parameters)
        logits, back = self.vjp(images, seed)
        loss, back_loss = cross_entropy_vjp(logits, labels, label_smoothing=0.05)
        return loss, back(back_loss())

    def class_attention(self, images: Array) -> Array:
        """Tell what the class token of the last layer attends to: (count, heads, rows, columns)."""
        x = self.patch(patches(images, self.window, self.stride))
        x = self._tokens(x, images.shape)
        *first, last = self.encoder.layers
        for layer in first:
            x = layer(x)
        weights = last.self_attn.weights(last.norm1(x))[:, :, 0, 1:]
        return weights.reshape(*weights.shape[:2], *self._grid(images.shape))

    def _tokens(self, x: Array, shape: tuple[int, ...]) -> Array:
        positions = grid_positions(*self._grid(shape), x.shape[-1]).astype(x.dtype)
        token = np.broadcast_to(self.class_token, (len(x), 1, x.shape[-1]))
        return np.concatenate([token, x + positions], axis=1)

    def _grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        height, width = ((side - self.window) // self.stride + 1 for side in shape[1:])
        return height, width
