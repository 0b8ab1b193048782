"""The functions of the package flash-attn 2, for tensors on the CPU.

The same names, arguments and results, so that code which was written for a GPU runs, can be tested
and stepped through without one. What each argument means here is in the guide, under flash-attn.

Imported only when asked for; PyTorch is installed by ``pip install "regard[torch]"``.
"""

from regard.flash_attn import bert_padding
from regard.flash_attn._dense import (
    flash_attn_func,
    flash_attn_kvpacked_func,
    flash_attn_qkvpacked_func,
)
from regard.flash_attn._install import install, uninstall
from regard.flash_attn._kvcache import flash_attn_with_kvcache
from regard.flash_attn._varlen import (
    flash_attn_varlen_func,
    flash_attn_varlen_kvpacked_func,
    flash_attn_varlen_qkvpacked_func,
)

__all__ = [
    "bert_padding",
    "flash_attn_func",
    "flash_attn_kvpacked_func",
    "flash_attn_qkvpacked_func",
    "flash_attn_varlen_func",
    "flash_attn_varlen_kvpacked_func",
    "flash_attn_varlen_qkvpacked_func",
    "flash_attn_with_kvcache",
    "install",
    "uninstall",
]
