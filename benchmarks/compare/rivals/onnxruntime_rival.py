"""ONNX Runtime: its three attention operators, each in the layout it was made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.compare.rivals.base import (
    Prepared,
    Rival,
    Unsupported,
    additive_mask,
    repeat_kv_heads,
)
from benchmarks.compare.rivals.onnxruntime_decode import decode
from benchmarks.compare.rivals.onnxruntime_session import Sessions, packed, unpacked
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs


class OnnxRuntime(Rival):
    """ONNX ``Attention`` (opset 23), ``MultiHeadAttention``, ``GroupQueryAttention``."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    packages = ("onnxruntime", "onnx")
    modules = ("onnxruntime", "onnx")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._sessions = Sessions(threads)
        self._helper: Any = self._sessions.onnx.helper

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """All that can express the case; which one is fastest differs from shape to shape."""
        if case.dtype == "bfloat16":
            raise Unsupported("has no bfloat16 kernels")
        if not case.cache:
            yield "Attention", lambda: self._attention(case, inputs)
        if case.dtype == "float64":
            return
        if not case.cache:
            yield "MultiHeadAttention", lambda: self._multi_head(case, inputs)
        if case.length == 1 < case.key_length:
            yield "GroupQueryAttention", lambda: decode(self._sessions, case, inputs)
        else:
            yield "GroupQueryAttention", lambda: self._group_query(case, inputs)

    def _attention(self, case: Case, inputs: Inputs) -> Prepared:
        feeds = {"query": inputs.query, "key": inputs.key, "value": inputs.value}
        mask = additive_mask(case, inputs)
        if mask is not None:
            # The operator wants the mask's last two axes whole.
            shape = (*mask.shape[:2], case.length, case.key_length)
            feeds["mask"] = np.broadcast_to(mask, shape)
        causal = int(case.causal and case.window is None)
        node = self._helper.make_node("Attention", list(feeds), ["output"], is_causal=causal)
        return self._prepared("Attention", node, feeds, lambda output: output)

    def _multi_head(self, case: Case, inputs: Inputs) -> Prepared:
        feeds = {
            "query": packed(inputs.query),
            "key": packed(repeat_kv_heads(case, inputs.key)),
            "value": packed(repeat_kv_heads(case, inputs.value)),
        }
        # Inputs by position: query, key, value, bias of the projections, key padding, scores.
        names = ["query", "key", "value"]
        if case.mask == "key_padding" and inputs.mask is not None:
            feeds["padding"] = inputs.mask[:, 0, 0].astype(np.int32)
            names += ["", "padding"]
        else:
            mask = additive_mask(case, inputs)
            if mask is not None:
                feeds["mask"] = mask
                names += ["", "", "mask"]
        node = self._helper.make_node(
            "MultiHeadAttention",
            names,
            ["output"],
            domain="com.microsoft",
            num_heads=case.heads,
            unidirectional=int(case.causal and case.window is None),
        )
        return self._prepared(
            "MultiHeadAttention", node, feeds, lambda output: unpacked(output, case.heads)
        )

    def _group_query(self, case: Case, inputs: Inputs) -> Prepared:
        if not case.causal and case.length > 1:
            raise Unsupported("GroupQueryAttention is causal")
        feeds = {
            "query": packed(inputs.query),
            "key": packed(inputs.key),
            "value": packed(inputs.value),
            "seqlens_k": np.full(case.batch, case.key_length - 1, dtype=np.int32),
            "total": np.array([case.key_length], dtype=np.int32),
        }
        names = ["query", "key", "value", "", "", "seqlens_k", "total"]
        if case.length != case.key_length:
            raise Unsupported("GroupQueryAttention takes as many new keys as queries")
        node = self._helper.make_node(
            "GroupQueryAttention",
            names,
            ["output", "present_key", "present_value"],
            domain="com.microsoft",
            num_heads=case.heads,
            kv_num_heads=case.kv_heads,
            local_window_size=case.window or -1,
        )
        return self._prepared(
            "GroupQueryAttention", node, feeds, lambda output: unpacked(output, case.heads)
        )

    def _prepared(
        self, way: str, node: Any, feeds: dict[str, Array], unpack: Callable[[Array], Array]
    ) -> Prepared:
        helper = self._helper
        kind = helper.np_dtype_to_tensor_dtype
        feeds = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        graph = helper.make_graph(
            [node],
            "attention",
            [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in feeds.items()],
            [helper.make_tensor_value_info("output", kind(feeds["query"].dtype), None)],
        )
        session = self._sessions.start(graph)

        def call() -> Any:
            return session.run(["output"], feeds)

        return Prepared(way, call, lambda: unpack(call()[0]))
