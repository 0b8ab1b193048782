"""Operators of the domain ``com.microsoft``, which onnxruntime's tools put into models.

As onnxruntime documents them; where it runs them on a CPU, the results are the same. They are in
`regard.onnx.ops`.
"""

from regard.onnx.contrib._attention import Attention
from regard.onnx.contrib._grouped import GroupQueryAttention
from regard.onnx.contrib._multihead import MultiHeadAttention
from regard.onnx.contrib._rotary import RotaryEmbedding

__all__ = ["Attention", "GroupQueryAttention", "MultiHeadAttention", "RotaryEmbedding"]
