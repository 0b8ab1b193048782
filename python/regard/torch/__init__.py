"""Attention on PyTorch tensors: gradients, compiled graphs, PyTorch's own signature and modules.

Imported only when asked for; PyTorch is installed by ``pip install "regard[torch]"``.
"""

from regard.torch import _operators  # noqa: F401  # registers them
from regard.torch._attention import attention, varlen_attention
from regard.torch._patch import Patch, patch, unpatch
from regard.torch._sdpa import scaled_dot_product_attention

__all__ = [
    "Patch",
    "attention",
    "patch",
    "scaled_dot_product_attention",
    "unpatch",
    "varlen_attention",
]
