"""Other libraries' attention, each called the way its documentation says is fastest."""

from __future__ import annotations

from benchmarks.compare.rivals.base import Prepared, Rival, Unsupported
from benchmarks.compare.rivals.ggml_rival import LlamaCpp
from benchmarks.compare.rivals.jax_rival import Jax
from benchmarks.compare.rivals.numpy_rival import NumPy
from benchmarks.compare.rivals.onnxruntime_rival import OnnxRuntime
from benchmarks.compare.rivals.openvino_rival import OpenVino
from benchmarks.compare.rivals.torch_rival import Torch

__all__ = ["RIVALS", "Prepared", "Rival", "Unsupported"]

RIVALS: dict[str, type[Rival]] = {
    rival.name: rival for rival in (Torch, OnnxRuntime, OpenVino, Jax, LlamaCpp, NumPy)
}
