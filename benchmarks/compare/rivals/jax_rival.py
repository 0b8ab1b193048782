"""JAX: jax.nn.dot_product_attention under jit."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import regard
from benchmarks.compare.rivals.base import Prepared, Rival, Unsupported
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs


class Jax(Rival):
    """``jax.nn.dot_product_attention``, compiled by XLA for the CPU."""

    name = "jax"
    title = "JAX"
    packages = ("jax", "jaxlib")
    modules = ("jax", "jaxlib")
    gradients = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # XLA sizes its pool when the backend starts and offers no option for it.
        for name in ("PJRT_NPROC", "NPROC"):
            os.environ.setdefault(name, str(threads))
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        self._jax: Any = importlib.import_module("jax")

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """Offer the public function."""
        yield "dot_product_attention", lambda: self._attention(case, inputs)

    def _attention(self, case: Case, inputs: Inputs) -> Prepared:
        jax = self._jax
        if case.dtype == "float64":
            raise Unsupported("its softmax is always float32")
        if case.dtype == "float16":
            raise Unsupported("its products of float16 are not supported on the CPU")
        if case.cache:
            raise Unsupported("has no attention over 8-bit keys")

        def transposed(array: Array) -> Any:
            return jax.numpy.asarray(array.transpose(0, 2, 1, 3))

        options: dict[str, Any] = {"is_causal": case.causal and case.window is None}
        if case.window is not None:
            options["local_window_size"] = (case.window - 1, 0)
        query, key, value = map(transposed, (inputs.query, inputs.key, inputs.value))
        bias = None if inputs.bias is None else jax.numpy.asarray(inputs.bias)
        mask = None if inputs.mask is None else jax.numpy.asarray(inputs.mask)
        attention = partial(jax.nn.dot_product_attention, **options)
        if case.backward:
            dout = transposed(inputs.dout)
            return self._gradients(attention, (query, key, value, bias), dout)
        compiled = jax.jit(attention)

        def call() -> Any:
            return compiled(query, key, value, bias=bias, mask=mask).block_until_ready()

        def result() -> Array:
            output: Array = jax.device_get(call()).transpose(0, 2, 1, 3)
            return output

        return Prepared("dot_product_attention", call, result)

    def _gradients(self, attention: Any, arrays: tuple[Any, ...], dout: Any) -> Prepared:
        jax = self._jax

        def step(dout: Any, *arrays: Any) -> Any:
            out, pull = jax.vjp(attention, *arrays)
            return out, pull(dout)  # out too, or the compiler leaves part of the forward pass out

        compiled = jax.jit(step)

        def call() -> Any:
            return jax.block_until_ready(compiled(dout, *arrays))

        def result() -> regard.Gradients:
            *others, bias = jax.device_get(call()[1])
            query, key, value = (x.transpose(0, 2, 1, 3) for x in others)
            return regard.Gradients(query=query, key=key, value=value, bias=bias)

        return Prepared("dot_product_attention", call, result)
