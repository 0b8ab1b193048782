"""Attention and rotary embeddings of ONNX models, for the reference evaluator of onnx.

``onnx.reference.ReferenceEvaluator(model, new_ops=regard.onnx.ops)`` runs a model with them; those
of the domain ``com.microsoft`` are in `regard.onnx.contrib`.

Imported only when asked for; onnx is installed by ``pip install "regard[onnx]"``.
"""

from regard.onnx import contrib
from regard.onnx._attention import Attention
from regard.onnx._backend import Backend
from regard.onnx._ops import ops
from regard.onnx._rotary import RotaryEmbedding

__all__ = ["Attention", "Backend", "RotaryEmbedding", "contrib", "ops"]
