"""OpenVINO: a model of one ScaledDotProductAttention operator."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.compare.rivals.base import (
    Prepared,
    Rival,
    Unsupported,
    additive_mask,
    allowed_pairs,
)
from regard._bfloat16 import MARKER, is_bfloat16
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs

# The precision to ask for where the inputs have it.
_HINTS = {"bfloat16": "bf16", "float16": "f16"}


class OpenVino(Rival):
    """``ScaledDotProductAttention`` (opset 13), compiled for the CPU."""

    name = "openvino"
    title = "OpenVINO"
    packages = ("openvino",)
    modules = ("openvino",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._ov: Any = importlib.import_module("openvino")
        self._op: Any = importlib.import_module("openvino.opset13")
        self._core = self._ov.Core()

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """Offer the operator with the mask as bool or as numbers to add, in either precision."""
        if case.dtype == "float64":
            raise Unsupported("computes in float32")
        if case.cache:
            raise Unsupported("has no attention over 8-bit keys but that of a stateful model")
        if case.dtype in _HINTS:
            yield "SDPA", lambda: self._sdpa(case, inputs, "SDPA", None, _HINTS[case.dtype])
            way = "SDPA in float32"
            yield way, lambda: self._sdpa(case, inputs, way, None)
            return
        if not case.bias and allowed_pairs(case, inputs) is not None:
            yield (
                "SDPA, bool mask",
                lambda: self._sdpa(case, inputs, "SDPA, bool mask", allowed_pairs(case, inputs)),
            )
        yield "SDPA", lambda: self._sdpa(case, inputs, "SDPA", additive_mask(case, inputs))

    def _sdpa(
        self, case: Case, inputs: Inputs, way: str, mask: Array | None, precision: str = "f32"
    ) -> Prepared:
        arrays = [inputs.query, inputs.key, inputs.value]
        if mask is not None:
            arrays.append(mask)
        arrays = [np.ascontiguousarray(array) for array in arrays]
        kinds = [self._type(array) for array in arrays]
        parameters = [
            self._op.parameter(list(a.shape), kind) for a, kind in zip(arrays, kinds, strict=True)
        ]
        query, key, value, *masks = parameters
        if case.kv_heads != case.heads:
            key, value = self._repeated(case, key), self._repeated(case, value)
        node = self._op.scaled_dot_product_attention(
            query, key, value, *masks, causal=case.causal and case.window is None
        )
        compiled = self._core.compile_model(
            self._ov.Model([node], parameters),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": self.threads,
                "INFERENCE_PRECISION_HINT": precision,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()
        for index, (array, kind) in enumerate(zip(arrays, kinds, strict=True)):
            if is_bfloat16(array.dtype):
                bits = array.view(np.uint16)
                tensor = self._ov.Tensor(bits, self._ov.Shape(array.shape), kind)
            else:
                tensor = self._ov.Tensor(array, shared_memory=True)
            request.set_input_tensor(index, tensor)

        def call(_keep: list[Array] = arrays) -> Any:
            # The request holds bare pointers into the arrays, so the closure has to hold those.
            return request.infer()

        def result() -> Array:
            call()
            output: Array = request.get_output_tensor(0).data.copy()
            return output.view(MARKER) if case.dtype == "bfloat16" else output

        return Prepared(way, call, result)

    def _type(self, array: Array) -> Any:
        return self._ov.Type.bf16 if is_bfloat16(array.dtype) else self._ov.Type(array.dtype)

    def _repeated(self, case: Case, node: Any) -> Any:
        """Build the graph that exporters make of grouped heads: unsqueeze, broadcast, reshape."""
        op = self._op
        length, dim, group = case.key_length, case.head_dim, case.heads // case.kv_heads
        node = op.unsqueeze(node, np.int64(2))
        node = op.broadcast(node, np.array([case.batch, case.kv_heads, group, length, dim]))
        return op.reshape(node, np.array([case.batch, case.heads, length, dim]), False)
