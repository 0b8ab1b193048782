"""Attention of dask arrays: on the cores and in the memory of many machines.

Imported only when asked for; Dask is installed by ``pip install "regard[dask]"``.
"""

from regard.dask._attention import attention
from regard.dask._cache import DistributedKVCache
from regard.dask._held import LostTokens
from regard.dask._varlen import varlen_attention
from regard.dask._vjp import Vjp, attention_vjp

__all__ = [
    "DistributedKVCache",
    "LostTokens",
    "Vjp",
    "attention",
    "attention_vjp",
    "varlen_attention",
]
