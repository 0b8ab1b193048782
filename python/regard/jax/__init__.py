"""Attention on JAX arrays, on the CPU: compiled programs call the core without Python.

Imported only when asked for; JAX is installed by ``pip install "regard[jax]"``.
"""

from regard.jax import _primitives  # noqa: F401  # defines them
from regard.jax._attention import attention
from regard.jax._dot_product import dot_product_attention

__all__ = ["attention", "dot_product_attention"]
