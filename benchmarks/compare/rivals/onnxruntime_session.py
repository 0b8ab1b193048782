"""ONNX Runtime's sessions, and the layout in which its own operators take heads."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from regard.bench.inputs import Array


class Sessions:
    """Makes sessions of so many threads on the CPU."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.ort: Any = importlib.import_module("onnxruntime")
        self.onnx: Any = importlib.import_module("onnx")

    def start(self, graph: Any) -> Any:
        """Make a session that runs a graph."""
        helper, ort = self.onnx.helper, self.ort
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)],
        )
        model.ir_version = 10
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def packed(array: Array) -> Array:
    """(batch, heads, length, dim) as (batch, length, heads * dim)."""
    batch, heads, length, dim = array.shape
    return np.ascontiguousarray(array.transpose(0, 2, 1, 3)).reshape(batch, length, heads * dim)


def unpacked(array: Array, heads: int) -> Array:
    """(batch, length, heads * dim) as (batch, heads, length, dim)."""
    batch, length, width = array.shape
    split = array.reshape(batch, length, heads, width // heads)
    unpacked: Array = split.swapaxes(1, 2)
    return unpacked
