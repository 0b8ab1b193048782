"""PyTorch: scaled_dot_product_attention, and FlexAttention where blocks can be skipped."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import regard
from benchmarks.compare.rivals.base import (
    Prepared,
    Rival,
    Unsupported,
    additive_mask,
    allowed_pairs,
)
from regard._bfloat16 import is_bfloat16
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs


class Torch(Rival):
    """``torch.nn.functional.scaled_dot_product_attention`` and compiled ``flex_attention``."""

    name = "torch"
    title = "PyTorch"
    packages = ("torch",)
    modules = ("torch",)
    options = ("bias",)
    gradients = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_num_threads(threads)

    @classmethod
    def version(cls) -> str:
        """PyTorch's own version string, which names the build."""
        return str(importlib.import_module("torch").__version__)

    def ways(self, case: Case, inputs: Inputs) -> Iterator[tuple[str, Callable[[], Prepared]]]:
        """SDPA always; FlexAttention where it may be PyTorch's best: windows, decode, 16 bits.

        FlexAttention has no gradients on the CPU.
        """
        if case.cache:
            raise Unsupported("has no attention over 8-bit keys")
        yield "SDPA", lambda: self._sdpa(case, inputs)
        skips = case.window is not None or case.group in ("decode", "storage")
        if skips and not case.backward:
            yield "FlexAttention", lambda: self._flex(case, inputs)

    def _sdpa(self, case: Case, inputs: Inputs) -> Prepared:
        torch = self._torch
        query, key, value = map(self._tensor, (inputs.query, inputs.key, inputs.value))
        # Without a bias a bool mask is the smaller of the two forms it takes.
        mask = additive_mask(case, inputs) if case.bias else allowed_pairs(case, inputs)
        causal = case.causal and case.window is None
        if mask is not None and causal:  # it takes one or the other
            mask, causal = np.where(np.tri(case.length, dtype=bool), mask, -np.inf), False
        options = {
            "attn_mask": None if mask is None else torch.from_numpy(mask),
            "is_causal": causal,
            "enable_gqa": case.heads != case.kv_heads,
        }
        attention = torch.nn.functional.scaled_dot_product_attention
        if case.backward:
            return self._gradients(case, inputs, attention, (query, key, value), options)
        # Nothing requires a gradient, so none is recorded: no guard around the call is needed.
        call = partial(attention, query, key, value, **options)
        return Prepared("SDPA", call, lambda: self._array(call()))

    def _gradients(
        self, case: Case, inputs: Inputs, attention: Any, arrays: Any, options: dict[str, Any]
    ) -> Prepared:
        dout, leaves = self._tensor(inputs.dout), list(arrays)
        if case.bias:  # the one that has the causal mask in it: what is hidden has no gradient
            leaves.append(options["attn_mask"])
        for leaf in leaves:
            leaf.requires_grad_()

        def call() -> Any:
            return self._torch.autograd.grad(attention(*arrays, **options), leaves, dout)

        def result() -> regard.Gradients:
            names = ("query", "key", "value", "bias")
            arrays = map(self._array, call())
            return regard.Gradients(**dict(zip(names, arrays, strict=False)))

        return Prepared("SDPA", call, result)

    def _flex(self, case: Case, inputs: Inputs) -> Prepared:
        torch = self._torch
        flex = importlib.import_module("torch.nn.attention.flex_attention")
        query, key, value = map(self._tensor, (inputs.query, inputs.key, inputs.value))
        blocks = None
        if case.window is not None or case.causal:
            width = case.length if case.window is None else case.window

            def sees(b: Any, h: Any, q: Any, kv: Any) -> Any:
                return (kv <= q) & (q - kv < width)

            blocks = flex.create_block_mask(
                sees, None, None, case.length, case.key_length, device="cpu"
            )
        grouped = case.heads != case.kv_heads
        compiled = torch.compile(flex.flex_attention, fullgraph=True)
        call = partial(compiled, query, key, value, block_mask=blocks, enable_gqa=grouped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()  # compiles
        return Prepared("FlexAttention", call, lambda: self._array(call()))

    def _tensor(self, array: Array) -> Any:
        if is_bfloat16(array.dtype):
            return self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        return self._torch.from_numpy(array)

    def _array(self, tensor: Any) -> Array:
        if tensor.dtype == self._torch.bfloat16:
            tensor = tensor.float()  # which NumPy has, with the same numbers
        array: Array = tensor.numpy()
        return array
