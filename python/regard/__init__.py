"""Exact attention for NumPy arrays on the CPU.

>>> import numpy as np
>>> import regard
>>> rng = np.random.default_rng(0)
>>> query, key, value = rng.standard_normal((3, 8, 100, 64), dtype=np.float32)
>>> regard.attention(query, key, value, causal=True).shape
(8, 100, 64)
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from regard._openmp import short_spin as _short_spin

try:
    with _short_spin():
        from regard._core import build as _build
except ImportError as error:
    if str(error).startswith("REGARD_ISA"):
        from regard._isa_variable import refuse as _refuse

        _refuse(str(error))
    raise ImportError(  # pragma: no cover - needs a broken installation
        f"regard's compiled core could not be loaded: {error}\n"
        "Install the package with `pip install .`; its source folder alone is not enough."
    ) from error

from regard._attention import attention

if TYPE_CHECKING:
    from regard import bench as bench
    from regard import bias, masks, nn, plot, positions, reference
    from regard import flash_attn as flash_attn
    from regard import jax as jax
    from regard import keras as keras
    from regard import torch as torch
    from regard import transformers as transformers
    from regard._alibi import alibi_slopes
    from regard._bfloat16 import BFloat16Array
    from regard._bfloat16 import bfloat16 as bfloat16
    from regard._casts import to_bfloat16, to_float32
    from regard._config import show_config
    from regard._explain import Explanation, explain
    from regard._isa import active_isa, available_isas, set_isa
    from regard._merge import merge_states
    from regard._quantize import quantize_kv
    from regard._summary import AttentionSummary, attention_summary
    from regard._threads import get_num_threads, set_num_threads
    from regard._varlen import varlen_attention
    from regard._weights import attention_weights
    from regard.cache import (
        KVCache,
        LatentKVCache,
        OutOfPages,
        PagedKVCache,
        PagedLatentKVCache,
    )
    from regard.gradients import (
        Gradients,
        Vjp,
        attention_backward,
        attention_jvp,
        attention_vjp,
        varlen_attention_vjp,
    )
    from regard.masks import BlockMask, PackedMask

__version__: str = _build()["version"]

__all__ = [  # without bfloat16, which needs ml_dtypes: `from regard import *` never does
    "AttentionSummary",
    "BFloat16Array",
    "BlockMask",
    "Explanation",
    "Gradients",
    "KVCache",
    "LatentKVCache",
    "OutOfPages",
    "PackedMask",
    "PagedKVCache",
    "PagedLatentKVCache",
    "Vjp",
    "__version__",
    "active_isa",
    "alibi_slopes",
    "attention",
    "attention_backward",
    "attention_jvp",
    "attention_summary",
    "attention_vjp",
    "attention_weights",
    "available_isas",
    "bias",
    "explain",
    "get_num_threads",
    "masks",
    "merge_states",
    "nn",
    "plot",
    "positions",
    "quantize_kv",
    "reference",
    "set_isa",
    "set_num_threads",
    "show_config",
    "to_bfloat16",
    "to_float32",
    "varlen_attention",
    "varlen_attention_vjp",
]

# Loaded when first used, so that the import stays within its few milliseconds.
_LAZY = {
    "AttentionSummary": "_summary",
    "BFloat16Array": "_bfloat16",
    "BlockMask": "masks",
    "Explanation": "_explain",
    "Gradients": "gradients",
    "KVCache": "cache",
    "LatentKVCache": "cache",
    "OutOfPages": "cache",
    "PackedMask": "masks",
    "PagedKVCache": "cache",
    "PagedLatentKVCache": "cache",
    "Vjp": "gradients",
    "active_isa": "_isa",
    "alibi_slopes": "_alibi",
    "attention_backward": "gradients",
    "attention_jvp": "gradients",
    "attention_summary": "_summary",
    "attention_vjp": "gradients",
    "attention_weights": "_weights",
    "available_isas": "_isa",
    "bfloat16": "_bfloat16",
    "bias": "bias",
    "explain": "_explain",
    "get_num_threads": "_threads",
    "masks": "masks",
    "merge_states": "_merge",
    "nn": "nn",
    "plot": "plot",
    "positions": "positions",
    "quantize_kv": "_quantize",
    "reference": "reference",
    "set_isa": "_isa",
    "set_num_threads": "_threads",
    "show_config": "_config",
    "to_bfloat16": "_casts",
    "to_float32": "_casts",
    "varlen_attention": "_varlen",
    "varlen_attention_vjp": "gradients",
}

# Not in `dir`, since what looks at all of that need not have the libraries they are for.
_ADAPTERS = frozenset({"bench", "dask", "flash_attn", "jax", "keras", "torch", "transformers"})


def __getattr__(name: str) -> object:
    if name in _ADAPTERS:
        return _import_module(f"regard.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    module = _import_module(f"regard.{_LAZY[name]}")
    value: object = module if name == _LAZY[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
