"""A call of attention on tensors as one of regard on arrays: forward, backward, forward mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

import regard
from regard._adapters import call_arguments
from regard.gradients import INPUTS
from regard.gradients._call import DifferentiableCall
from regard.gradients._pull_back import pull_back
from regard.torch._tensors import array_of, tensor_of

Tensors: TypeAlias = Sequence[torch.Tensor]

#: Tensors that make a call one of packed pieces.
STARTS = ("cu_seqlens_q", "cu_seqlens_k")


class Call:
    """A call on arrays: what it is made of beside its tensors, and what is computed of them.

    Attributes
    ----------
    names : tuple of str
        What the tensors after query, key and value are: options, the starts of packed pieces, or
        "position_bias" for the table of one.
    options : dict
        The other options, as `regard.attention` takes them.
    """

    __slots__ = ("names", "options")

    def __init__(self, names: tuple[str, ...], options: dict[str, Any]) -> None:
        self.names, self.options = names, options

    def forward(
        self, tensors: Tensors, *, contiguous: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Output and LSE; the output in the order of query's axes in memory, or contiguous."""
        arguments = self._arguments(tensors)
        query, key, value = tensors[:3]
        if not self._packed():
            if contiguous or "layout" in self.options or not _tokens_first(query, key, value):
                out, lse = regard.attention(**arguments, return_lse=True)
                return tensor_of(out), tensor_of(lse)
            *batch, heads, rows, _ = query.shape
            empty = torch.empty((*batch, rows, heads, value.shape[-1]), dtype=query.dtype)
            result = empty.transpose(-3, -2)
            _, lse = regard.attention(**arguments, out=array_of(result), return_lse=True)
            return result, tensor_of(lse)
        # Given, so that it is contiguous: compiled graphs rely on strides known beforehand.
        result = torch.empty(packed_shape(query, value), dtype=query.dtype)
        _, lse = regard.varlen_attention(**arguments, out=array_of(result), return_lse=True)
        return result, tensor_of(lse)

    def backward(
        self,
        tensors: Tensors,
        out: torch.Tensor,
        lse: torch.Tensor,
        dout: torch.Tensor | None,
        dlse: torch.Tensor | None,
        wanted: Iterable[str],
    ) -> list[torch.Tensor]:
        """Gradients by the tensors whose names are wanted, in the order of the tensors."""
        arguments = self._arguments(tensors)
        starts = arguments.pop(STARTS[0], None), arguments.pop(STARTS[1], None)
        query, key, value = (arguments.pop(name) for name in INPUTS)
        problem = DifferentiableCall(
            "attention", query, key, value, arguments, starts if self._packed() else None
        )
        if dout is None:
            dout = torch.zeros_like(out)
        gradients = pull_back(
            problem, array_of(out), array_of(lse), array_of(dout),
            None if dlse is None else array_of(dlse),
            tuple(wanted), None, False,
        )  # fmt: skip
        results = []
        for name, x in zip((*INPUTS, *self.names), tensors, strict=True):
            gradient = getattr(gradients, name, None)
            if gradient is not None:
                gradient = tensor_of(np.ascontiguousarray(gradient))
                results.append(gradient.to(x.dtype).reshape(x.shape))
        return results

    def tangent(
        self, tensors: Tensors, moves: Sequence[torch.Tensor | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How output and LSE move when query, key and value do."""
        if self._packed():
            raise NotImplementedError(
                "attention: there is no forward mode for packed pieces.\n  Use gradients, or "
                "regard.torch.attention piece by piece."
            )
        directions: dict[str, Any] = {
            f"d{name}": array_of(move)
            for name, move in zip(INPUTS, moves, strict=True)
            if move is not None
        }
        arguments = self._arguments(tensors)
        _, (dout, dlse) = regard.attention_jvp(**arguments, **directions, return_lse=True)
        query = tensors[0]
        return tensor_of(dout).to(query.dtype), tensor_of(dlse).to(lse_dtype(query))

    def _packed(self) -> bool:
        return STARTS[0] in self.names

    def _arguments(self, tensors: Tensors) -> dict[str, Any]:
        """Arguments for `regard.attention` or `regard.varlen_attention`."""
        names = (*INPUTS, *self.names)
        arrays = {name: array_of(x) for name, x in zip(names, tensors, strict=True)}
        return call_arguments(arrays, self.options)


def _tokens_first(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether query is a view of (..., tokens, heads, dim), into which modules turn outputs back.

    An output that lies likewise is turned back without a copy, as that of PyTorch's own attention.
    """
    if query.dim() < 3 or not query.stride(-2) > query.stride(-3) > 0:
        return False
    return query.shape[:-3] == key.shape[:-3] == value.shape[:-3] and 1 not in query.shape[-3:-1]


def packed_shape(query: torch.Tensor, value: torch.Tensor) -> tuple[int, ...]:
    """Shape of the output of packed pieces."""
    return (*query.shape[:2], value.shape[-1])


def lse_dtype(query: torch.Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if query.dtype == torch.float64 else torch.float32
