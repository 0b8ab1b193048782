"""Other libraries' attention, each called the way its documentation says is fastest."""

from __future__ import annotations

from regard.bench.rivals.base import Prepared, Rival, Unsupported
from regard.bench.rivals.jax_rival import Jax
from regard.bench.rivals.numpy_rival import NumPy
from regard.bench.rivals.onnxruntime_rival import OnnxRuntime
from regard.bench.rivals.openvino_rival import OpenVino
from regard.bench.rivals.torch_rival import Torch

__all__ = ["RIVALS", "Prepared", "Rival", "Unsupported"]

RIVALS: dict[str, type[Rival]] = {
    rival.name: rival for rival in (Torch, OnnxRuntime, OpenVino, Jax, NumPy)
}
