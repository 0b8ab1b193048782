"""The few functions of ggml that attention takes, out of the libraries of ``llama_cpp``.

ggml has no binding of its own for Python; that of llama.cpp has its libraries beside it. Names and
numbers are those of ``ggml.h`` and ``ggml-cpu.h``.
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_bool, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from regard.bench.inputs import Array

TYPES = {"float32": 0, "float16": 1, "q8_0": 8, "bfloat16": 30}
F32_SUMS = 10  # GGML_PREC_F32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_new_tensor": (c_void_p, [c_void_p, c_int, c_int, c_void_p]),
    "ggml_get_data": (c_void_p, [c_void_p]),
    "ggml_nbytes": (c_size_t, [c_void_p]),
    "ggml_flash_attn_ext": (c_void_p, [c_void_p] * 5 + [c_float] * 3),
    "ggml_flash_attn_ext_set_prec": (None, [c_void_p, c_int]),
    "ggml_new_graph": (c_void_p, [c_void_p]),
    "ggml_build_forward_expand": (None, [c_void_p, c_void_p]),
    "ggml_free": (None, [c_void_p]),
    "ggml_backend_cpu_init": (c_void_p, []),
    "ggml_backend_cpu_set_n_threads": (None, [c_void_p, c_int]),
    "ggml_backend_graph_compute": (c_int, [c_void_p, c_void_p]),
}


class _Parameters(ctypes.Structure):
    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


class Ggml:
    """ggml's functions, and a CPU backend with a number of threads."""

    def __init__(self, threads: int) -> None:
        found = importlib.util.find_spec("llama_cpp")
        if found is None or found.origin is None:
            raise ImportError("llama_cpp is not installed")
        folder = Path(found.origin).parent / "lib"
        self._libraries = [
            ctypes.CDLL(str(folder / f"lib{name}.so"), mode=ctypes.RTLD_GLOBAL)
            for name in ("ggml-base", "ggml-cpu")
        ]
        made = {"init": self._function("ggml_init", c_void_p, [_Parameters])}
        for name, (result, arguments) in _SIGNATURES.items():
            made[name.removeprefix("ggml_")] = self._function(name, result, arguments)
        self.functions: Any = SimpleNamespace(**made)
        self._backend = self.functions.backend_cpu_init()
        self.functions.backend_cpu_set_n_threads(self._backend, threads)

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        for library in self._libraries:
            if hasattr(library, name):
                found = getattr(library, name)
                found.restype, found.argtypes = result, arguments
                return found
        raise ImportError(f"ggml has no {name}")

    def compute(self, graph: int) -> None:
        """Run a graph."""
        if self.functions.backend_graph_compute(self._backend, graph):
            raise RuntimeError("ggml's graph failed")


class Context:
    """Memory for tensors and a graph, freed with it."""

    def __init__(self, ggml: Ggml, size: int) -> None:
        self._functions = ggml.functions
        self.address = self._functions.init(_Parameters(size, None, False))
        if not self.address:
            raise MemoryError("ggml has no memory for the tensors")

    def __del__(self) -> None:
        self._functions.free(self.address)

    def tensor(self, data: Array, kind: str, shape: tuple[int, ...]) -> int:
        """Copy an array into a tensor; `shape` is NumPy's, whose order ggml reverses."""
        sizes = (c_int64 * len(shape))(*shape[::-1])
        made: int = self._functions.new_tensor(self.address, TYPES[kind], len(shape), sizes)
        data = np.ascontiguousarray(data)
        if self._functions.nbytes(made) != data.nbytes:
            raise ValueError(f"ggml wants {self._functions.nbytes(made)} bytes, not {data.nbytes}")
        ctypes.memmove(self._functions.get_data(made), data.ctypes.data, data.nbytes)
        return made

    def read(self, tensor: int, shape: tuple[int, ...]) -> Array:
        """Copy a tensor of float32 into an array."""
        array = np.empty(shape, dtype=np.float32)
        ctypes.memmove(array.ctypes.data, self._functions.get_data(tensor), array.nbytes)
        return array


def q8_0(rows: Array) -> Array:
    """Quantise rows to ggml's 8 bits: blocks of 32 numbers with a scale of 16 bits before each."""
    blocks = rows.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("numbers", "i1", 32)])
    packed["scale"] = scale[:, 0]
    packed["numbers"] = np.rint(blocks * inverse)
    return packed
