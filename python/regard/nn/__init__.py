"""Layers of transformers in NumPy: dataclasses of arrays that run, and give their gradients.

``layer(x)`` computes, ``out, back = layer.vjp(x)`` and ``back(dout)`` differentiate. There is no
graph and no state: a layer holds its parameters, under the names of PyTorch's ``state_dict``.

>>> import numpy as np
>>> from regard import nn
>>> encoder = nn.TransformerEncoder.random(0, layers=2, features=64, num_heads=4, hidden=128)
>>> rows, offsets = nn.pack([np.ones((n, 64), np.float32) for n in (7, 3)])
>>> out, back = encoder.vjp(rows, offsets=offsets)
>>> out.shape, len(back(out).parameters)
((10, 64), 24)
"""

from regard.nn._activations import (
    ACTIVATIONS,
    Activation,
    gelu,
    gelu_tanh,
    identity,
    quick_gelu,
    relu,
    relu_squared,
    sigmoid,
    silu,
    tanh,
)
from regard.nn._attention import MultiHeadAttention
from regard.nn._decoder import TransformerDecoder
from regard.nn._decoder_layer import TransformerDecoderLayer
from regard.nn._dropout import Dropout
from regard.nn._embedding import Embedding
from regard.nn._encoder import TransformerEncoder
from regard.nn._encoder_layer import TransformerEncoderLayer
from regard.nn._feed_forward import FeedForward
from regard.nn._gradients import LayerGradients
from regard.nn._invariant import batch_invariant
from regard.nn._layer import Layer
from regard.nn._linear import Linear
from regard.nn._norms import LayerNorm, RMSNorm
from regard.nn._packing import pack, unpack
from regard.nn._safetensors import load_safetensors, save_safetensors
from regard.nn._settings import Settings
from regard.nn._transformer import Transformer

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Dropout",
    "Embedding",
    "FeedForward",
    "Layer",
    "LayerGradients",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "RMSNorm",
    "Settings",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "batch_invariant",
    "gelu",
    "gelu_tanh",
    "identity",
    "load_safetensors",
    "pack",
    "quick_gelu",
    "relu",
    "relu_squared",
    "save_safetensors",
    "sigmoid",
    "silu",
    "tanh",
    "unpack",
]
