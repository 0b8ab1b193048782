"""The list of operators."""

from __future__ import annotations

from regard.onnx import contrib
from regard.onnx._attention import Attention
from regard.onnx._operator import Operator
from regard.onnx._rotary import RotaryEmbedding

#: For the argument ``new_ops`` of onnx's ReferenceEvaluator: all operators of this package.
ops: list[type[Operator]] = [
    Attention,
    RotaryEmbedding,
    contrib.Attention,
    contrib.GroupQueryAttention,
    contrib.MultiHeadAttention,
    contrib.RotaryEmbedding,
]
