"""Positions that go into the vectors: sinusoidal encodings and rotary embeddings.

Biases that depend on positions are in `regard.bias`; ALiBi is an option of `regard.attention`.
"""

from regard.positions._encodings import Rope, rope, sinusoidal
from regard.positions._scaling import NTK, DynamicNTK, Linear, Llama3, Scaling, YaRN

__all__ = [
    "NTK",
    "DynamicNTK",
    "Linear",
    "Llama3",
    "Rope",
    "Scaling",
    "YaRN",
    "rope",
    "sinusoidal",
]
