"""OpenVINO: a model of one ScaledDotProductAttention operator."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from regard.bench.cases import Array, Case, Inputs
from regard.bench.rivals.base import Prepared, Rival, Unsupported, additive_mask, allowed_pairs


class OpenVino(Rival):
    """``ScaledDotProductAttention`` (opset 13), compiled for the CPU in float32."""

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
        """Offer the operator with the mask as bool or as numbers to add."""
        if not case.bias and allowed_pairs(case, inputs) is not None:
            yield (
                "SDPA, bool mask",
                lambda: self._sdpa(case, inputs, "SDPA, bool mask", allowed_pairs(case, inputs)),
            )
        yield "SDPA", lambda: self._sdpa(case, inputs, "SDPA", additive_mask(case, inputs))

    def _sdpa(self, case: Case, inputs: Inputs, way: str, mask: Array | None) -> Prepared:
        if case.dtype != "float32":
            raise Unsupported("computes in float32")
        arrays = [inputs.query, inputs.key, inputs.value]
        if mask is not None:
            arrays.append(mask)
        arrays = [np.ascontiguousarray(array) for array in arrays]
        parameters = [self._op.parameter(list(a.shape), a.dtype.type) for a in arrays]
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
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()
        for index, array in enumerate(arrays):
            request.set_input_tensor(index, self._ov.Tensor(array, shared_memory=True))

        def call(_keep: list[Array] = arrays) -> Any:
            # The request holds bare pointers into the arrays, so the closure has to hold those.
            return request.infer()

        def result() -> Array:
            call()
            output: Array = request.get_output_tensor(0).data.copy()
            return output

        return Prepared(way, call, result)

    def _repeated(self, case: Case, node: Any) -> Any:
        """Build the graph that exporters make of grouped heads: unsqueeze, broadcast, reshape."""
        op = self._op
        length, dim, group = case.key_length, case.head_dim, case.heads // case.kv_heads
        node = op.unsqueeze(node, np.int64(2))
        node = op.broadcast(node, np.array([case.batch, case.kv_heads, group, length, dim]))
        return op.reshape(node, np.array([case.batch, case.heads, length, dim]), False)
