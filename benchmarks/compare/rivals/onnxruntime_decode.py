"""ONNX Runtime's ``GroupQueryAttention`` over a cache: one new key a call, past and present shared.

The last key of a case is the new one; the others lie in the cache. Its 8-bit cache has one scale a
channel, over all tokens, so it rounds what our scales and integers stand for once more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.compare.rivals.base import Prepared
from benchmarks.compare.rivals.onnxruntime_session import Sessions, packed, unpacked
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs, widened


def decode(sessions: Sessions, case: Case, inputs: Inputs) -> Prepared:
    """Prepare one query for each element over a cache that is updated in place."""
    query, key, value = inputs.query, inputs.key, inputs.value
    more: dict[str, Any] = {}
    names = ["query", "key", "value", "past_key", "past_value", "seqlens_k", "total"]
    feeds: dict[str, Array] = {}
    cache = {"past_key": key, "past_value": value}
    if case.cache:
        query, key, value = widened(case, inputs)
        for name, x in (("k", key), ("v", value)):
            cache["past_key" if name == "k" else "past_value"], scales = _by_channel(x)
            feeds[f"{name}_scale"] = scales
            more[f"{name}_quant_type"] = "PER_CHANNEL"
        more["kv_cache_bit_width"] = 8
        names += ["", "", "", "", "", "k_scale", "v_scale"]
    feeds |= {
        "query": packed(query),
        "key": packed(key[:, :, -1:]),
        "value": packed(value[:, :, -1:]),
        **{name: np.array(x, order="C") for name, x in cache.items()},
        "seqlens_k": np.full(case.batch, case.key_length - 1, dtype=np.int32),
        "total": np.array([case.key_length], dtype=np.int32),
    }
    helper = sessions.onnx.helper
    node = helper.make_node(
        "GroupQueryAttention", names, ["output", "present_key", "present_value"],
        domain="com.microsoft", num_heads=case.heads, kv_num_heads=case.kv_heads, **more,
    )  # fmt: skip
    kind = helper.np_dtype_to_tensor_dtype
    shared = {"present_key": "past_key", "present_value": "past_value"}
    graph = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info(n, kind(a.dtype), a.shape) for n, a in feeds.items()],
        [
            helper.make_tensor_value_info("output", kind(query.dtype), None),
            *(
                helper.make_tensor_value_info(n, kind(feeds[p].dtype), feeds[p].shape)
                for n, p in shared.items()
            ),
        ],
    )
    session = sessions.start(graph)
    values = {n: sessions.ort.OrtValue.ortvalue_from_numpy(a) for n, a in feeds.items()}
    binding = session.io_binding()
    for name, x in values.items():
        binding.bind_ortvalue_input(name, x)
    binding.bind_output("output")
    for name, past in shared.items():
        binding.bind_ortvalue_output(name, values[past])

    def call() -> Any:
        session.run_with_iobinding(binding)

    def result() -> Array:
        call()
        output: Array = binding.get_outputs()[0].numpy()
        return unpacked(output, case.heads)

    return Prepared("GroupQueryAttention", call, result)


def _by_channel(x: Array) -> tuple[Array, Array]:
    """(batch, heads, length, dim) as int8, and one scale for each head and channel."""
    scales = np.abs(x).max(axis=(0, 2)) / np.float32(127)
    return np.rint(x / scales[:, np.newaxis]).astype(np.int8), scales.reshape(-1)
