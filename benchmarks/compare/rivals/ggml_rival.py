"""llama.cpp: ggml's flash attention, with caches of float32, float16, bfloat16 and q8_0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.compare.rivals.base import (
    Prepared,
    Rival,
    Unsupported,
    additive_mask,
)
from benchmarks.compare.rivals.ggml_library import F32_SUMS, Context, Ggml, q8_0
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs, widened
from regard.reference import stored


class LlamaCpp(Rival):
    """``ggml_flash_attn_ext`` on the CPU, called without a model.

    Queries and outputs are float32 and masks float16, as llama.cpp has them. Sums are asked for in
    float32; with values of float16 ggml's kernel adds up in float16 all the same.
    """

    name = "llamacpp"
    title = "llama.cpp"
    packages = ("llama-cpp-python",)
    modules = ("llama_cpp",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._ggml = Ggml(threads)

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """Offer the operator with keys and values as they are stored."""
        if case.dtype == "float64":
            raise Unsupported("computes in float32")
        if case.bias:
            raise Unsupported("adds nothing but what fits a mask of float16")
        if case.head_dim % 32 and case.cache:
            raise Unsupported("its blocks of 8 bits have 32 numbers")
        kind = "q8_0" if case.cache else case.dtype
        yield f"flash_attn_ext {kind}", lambda: self._attention(case, inputs, kind)

    def _attention(self, case: Case, inputs: Inputs, kind: str) -> Prepared:
        query, key, value = inputs.query, inputs.key, inputs.value
        if case.cache:
            query, key, value = widened(case, inputs)
        mask = _mask(case, inputs)
        sizes = sum(x.size * 4 for x in (query, key, value)) + 4 * query.size
        sizes += 0 if mask is None else mask.nbytes
        context = Context(self._ggml, sizes + (1 << 22))
        tensors = [
            context.tensor(stored(query).astype(np.float32), "float32", query.shape),
            *(context.tensor(_cache(x, kind), kind, x.shape) for x in (key, value)),
            None if mask is None else context.tensor(mask, "float16", mask.shape),
        ]
        scale = 1 / math.sqrt(case.head_dim)
        ggml = self._ggml.functions
        node = ggml.flash_attn_ext(context.address, *tensors, scale, 0.0, 0.0)
        ggml.flash_attn_ext_set_prec(node, F32_SUMS)
        graph = ggml.new_graph(context.address)
        ggml.build_forward_expand(graph, node)
        shape = (case.batch, case.length, case.heads, case.value_dim)

        def call(_keep: Context = context) -> None:
            self._ggml.compute(graph)

        def result() -> Array:
            call()
            output: Array = context.read(node, shape).transpose(0, 2, 1, 3)
            return output

        return Prepared(f"flash_attn_ext {kind}", call, result)


def _cache(x: Array, kind: str) -> Array:
    return q8_0(x) if kind == "q8_0" else x


def _mask(case: Case, inputs: Inputs) -> Array | None:
    """Everything that hides or adds, (batch or 1, heads or 1, length, key_length), in float16."""
    mask = additive_mask(case, inputs)
    if case.causal and case.window is None:
        hidden = np.where(np.tri(case.length, dtype=bool), 0, -np.inf)[None, None]
        mask = hidden if mask is None else mask + hidden
    if mask is None:
        return None
    whole = np.broadcast_to(mask, (*mask.shape[:2], case.length, case.key_length))
    half: Array = whole.astype(np.float16)
    return half
