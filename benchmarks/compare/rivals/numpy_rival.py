"""NumPy itself: the softmax of the definition, with BLAS products."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.compare.rivals.base import Prepared, Rival, Unsupported, allowed_pairs
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs


class NumPy(Rival):
    """What one writes by hand: scores in full, in place where NumPy allows it."""

    name = "numpy"
    title = "NumPy"
    packages = ("numpy",)
    modules = ("numpy",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._limit = _limit_blas(threads)

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """Plain NumPy, once."""
        if case.stored not in ("float32", "float64"):
            raise Unsupported("has no fast products of smaller types")

        def build() -> Prepared:
            if not self._limit:
                raise Unsupported(
                    f"to hold its BLAS to {self.threads} thread(s), install threadpoolctl "
                    f"or set OPENBLAS_NUM_THREADS={self.threads}"
                )
            call = _attention(case, inputs)
            return Prepared("matmul", call, call)

        yield "matmul", build


def _attention(case: Case, inputs: Inputs) -> Callable[[], Array]:
    group = case.heads // case.kv_heads
    # Query heads that share a KV head are a further axis, so that key and value broadcast.
    grouped = (case.batch, case.kv_heads, group, case.length)
    query = inputs.query.reshape(*grouped, case.head_dim)
    key_t = inputs.key[:, :, None].swapaxes(-1, -2)
    value = inputs.value[:, :, None]
    dtype = np.dtype(case.dtype).type
    scale = dtype(1 / math.sqrt(case.head_dim))
    allowed = allowed_pairs(case, inputs)
    if case.causal and case.window is None:
        allowed = np.tril(np.ones((case.length, case.key_length), dtype=bool))[None, None]
    # Masked rows get the lowest number, not -inf, which keeps the maximum finite.
    hidden = None if allowed is None else _grouped(case, np.where(allowed, 0, -1e30).astype(dtype))
    bias = None if inputs.bias is None else _grouped(case, inputs.bias)
    output_shape = (case.batch, case.heads, case.length, case.head_dim)

    def call() -> Array:
        scores: Array = query @ key_t
        scores *= scale
        if bias is not None:
            scores += bias
        if hidden is not None:
            scores += hidden
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        output: Array = scores @ value
        return output.reshape(output_shape)

    return call


def _grouped(case: Case, array: Array) -> Array:
    """(batch, heads or 1, ...) split into (batch, kv heads or 1, group or 1, ...)."""
    batch, heads, *rest = array.shape
    if heads == 1:
        return array.reshape(batch, 1, 1, *rest)
    return array.reshape(batch, case.kv_heads, -1, *rest)


def _limit_blas(threads: int) -> Any:
    """Hold BLAS to a number of threads for the rest of the process; None if nobody can."""
    if importlib.util.find_spec("threadpoolctl") is not None:
        return importlib.import_module("threadpoolctl").threadpool_limits(threads, "blas")
    asked = os.environ.get("OPENBLAS_NUM_THREADS", str(os.cpu_count()))
    return asked if asked == str(threads) else None
