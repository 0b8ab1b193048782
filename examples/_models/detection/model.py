"""A detector: patches, an encoder, and a decoder of learned queries, each for one object or none.

Carion, N. et al., "End-to-End Object Detection with Transformers" (DETR), 2020, with patches in
place of a convolutional network. What is learned for each query besides its vector is a place,
which its box starts from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from _models.vision.patches import grid_positions, patches
from regard import nn

from .matching import set_loss_vjp
from .scenes import NAMES, Scenes

Array = NDArray[Any]
Parameters = dict[str, Array]
Back = Callable[[Array, Array], Parameters]


@dataclass(eq=False, repr=False)
class Detector(nn.Layer):
    """Logits of the classes and a box, of every query.

    Parameters
    ----------
    patch : Linear
        From the pixels of a patch.
    encoder : TransformerEncoder
    queries : ndarray, shape (queries, features)
    places : ndarray, shape (queries, 4)
        Logits of the box that each query starts from.
    decoder : TransformerDecoder
    label : Linear
        To the classes; the last one means no object.
    box : FeedForward
        To what is added to the place.
    window, stride : int
        Pixels of a patch's side, and from one patch to the next.
    """

    patch: nn.Linear
    encoder: nn.TransformerEncoder
    queries: Array
    places: Array
    decoder: nn.TransformerDecoder
    label: nn.Linear
    box: nn.FeedForward
    window: int
    stride: int

    @classmethod
    def random(
        cls, seed: int, *, window: int = 12, stride: int = 6, queries: int = 8, features: int = 64,
        heads: int = 4, layers: int = 2, dtype: DTypeLike = np.float32,
    ) -> Detector:  # fmt: skip
        """Draw the weights; boxes start anywhere, and a fourth of the image wide and high."""
        rng = np.random.default_rng(seed)
        kind = np.dtype(dtype)
        sizes: dict[str, Any] = {
            "layers": layers, "features": features, "num_heads": heads, "hidden": 2 * features,
            "norm_first": True, "dtype": kind.name,
        }  # fmt: skip

        def linear(outputs: int, inputs: int, scale: float = 1.0) -> nn.Linear:
            weight = scale * inputs**-0.5 * rng.standard_normal((outputs, inputs))
            return nn.Linear(weight.astype(kind), np.zeros(outputs, kind))

        places = np.full((queries, 4), np.log(0.25 / 0.75))
        places[:, :2] = rng.uniform(-1.5, 1.5, (queries, 2))
        return cls(
            linear(features, window * window),
            nn.TransformerEncoder.random(seed, **sizes),
            rng.standard_normal((queries, features)).astype(kind),
            places.astype(kind),
            nn.TransformerDecoder.random(seed, **sizes),
            linear(len(NAMES) + 1, features, 0.1),
            nn.FeedForward(linear(features, features), linear(4, features, 0.1)),
            window,
            stride,
        )

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Logits (count, queries, classes + 1) and boxes (count, queries, 4) of images."""
        x = self.decoder(self._queries(len(images)), self._memory(images))
        return self.label(x), nn.sigmoid(self.box(x) + self.places)

    def vjp(self, images: Array) -> tuple[tuple[Array, Array], Back]:
        """Compute them, and return the way back to the parameters."""
        tokens, back_patch = self.patch.vjp(patches(images, self.window, self.stride))
        positions = self._positions(images)
        memory, back_encoder = self.encoder.vjp(tokens + positions)
        x, back_decoder = self.decoder.vjp(self._queries(len(images)), memory + positions)
        logits, back_label = self.label.vjp(x)
        moves, back_box = self.box.vjp(x)
        boxes, back_sigmoid = nn.sigmoid.vjp(moves + self.places)

        def back(dlogits: Array, dboxes: Array) -> Parameters:
            dmoves = back_sigmoid(dboxes).x
            by_label, by_box = back_label(dlogits), back_box(dmoves)
            by_decoder = back_decoder(by_label.x + by_box.x)
            assert by_decoder.memory is not None
            by_encoder = back_encoder(by_decoder.memory)
            parts = {
                "patch": back_patch(by_encoder.x), "encoder": by_encoder, "decoder": by_decoder,
                "label": by_label, "box": by_box,
            }  # fmt: skip
            return {
                "queries": by_decoder.x.sum(axis=0),
                "places": dmoves.sum(axis=0),
                **{f"{at}.{name}": g for at, part in parts.items()
                   for name, g in part.parameters.items()},
            }  # fmt: skip

        return (logits, boxes), back

    def loss_and_gradients(
        self, parameters: Parameters, scenes: Scenes
    ) -> tuple[float, Parameters]:
        """Loss of the matched sets, and its derivative by each parameter."""
        self.load_state_dict(parameters)
        (logits, boxes), back = self.vjp(scenes.images)
        loss, back_loss = set_loss_vjp(logits, boxes, scenes.labels, scenes.boxes)
        return loss, back(*back_loss())

    def cross_attention(self, images: Array) -> Array:
        """Tell what the queries attend to in the last layer, mean of the heads.

        Shape (count, queries, rows, columns).
        """
        memory, x = self._memory(images), self._queries(len(images))
        *first, last = self.decoder.layers
        for layer in first:
            x = layer(x, memory)
        x = x + last.self_attn(last.norm1(x))
        weights = last.multihead_attn.weights(last.norm2(x), memory).mean(axis=1)
        side = self._side(images)
        maps: Array = weights.reshape(*weights.shape[:2], side, side)
        return maps

    def _memory(self, images: Array) -> Array:
        positions = self._positions(images)
        tokens = self.patch(patches(images, self.window, self.stride))
        memory: Array = self.encoder(tokens + positions) + positions
        return memory

    def _queries(self, count: int) -> Array:
        return np.repeat(self.queries[np.newaxis], count, axis=0)

    def _positions(self, images: Array) -> Array:
        side, features = self._side(images), len(self.patch.weight)
        return grid_positions(side, side, features).astype(self.patch.weight.dtype)

    def _side(self, images: Array) -> int:
        return int(images.shape[1] - self.window) // self.stride + 1
