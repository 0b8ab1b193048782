"""The projections of an attention: inputs to query, key and value, and derivatives back.

Query, key and value are products of an input with rows of weights. Those that share an input and
lie next to each other in ``in_proj_weight`` are one product: all three in self attention, key and
value where both come from a memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard.nn._products import affine, affine_back

Array: TypeAlias = NDArray[Any]

_APART = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass
class Weights:
    """Weights and bias of the three projections, as PyTorch keeps them.

    Attributes
    ----------
    together : ndarray or None
        ``in_proj_weight``, or None if there is one of each.
    apart : tuple of ndarray or None
        ``q_proj_weight``, ``k_proj_weight``, ``v_proj_weight``.
    bias : ndarray or None
    widths : tuple of int
        Columns of query, key and value: heads times head_dim.
    """

    together: Array | None
    apart: tuple[Array | None, Array | None, Array | None]
    bias: Array | None
    widths: tuple[int, int, int]
    batch_invariant: bool

    def pieces(self, inputs: tuple[Array, Array, Array]) -> list[Piece]:
        """Cut the projections into as few products as the inputs allow."""
        ends = np.cumsum((0, *self.widths)).tolist()
        cuts = [0, 1, 2, 3]
        if self.together is not None:
            same = [inputs[n - 1] is inputs[n] for n in (1, 2)]
            cuts = [0, *(n for n in (1, 2) if not same[n - 1]), 3]
        found = []
        for first, end in pairwise(cuts):
            rows = slice(ends[first], ends[end])
            if self.together is not None:
                name, weight, own = "in_proj_weight", self.together[rows], rows
            else:
                apart = self.apart[first]
                assert apart is not None
                name, weight, own = _APART[first], apart, slice(None)
            bias = None if self.bias is None else self.bias[rows]
            found.append(Piece(inputs[first], (first, end), name, weight, own, bias, rows))
        return found

    def columns(self, piece: Piece, projected: Array) -> list[Array]:
        """Cut the result of a product into those of query, key and value that are in it."""
        widths = self.widths[piece.which[0] : piece.which[1]]
        return np.split(projected, np.cumsum(widths)[:-1].tolist(), axis=-1)

    def forward(self, inputs: tuple[Array, Array, Array]) -> list[Array]:
        """Compute query, key and value, (..., heads * head_dim) each."""
        out: list[Array] = []
        for piece in self.pieces(inputs):
            projected = affine(piece.x, piece.weight, piece.bias, self.batch_invariant)
            out += self.columns(piece, projected)
        return out

    def buffers(self, inputs: tuple[Array, Array, Array]) -> tuple[list[Array], list[Array]]:
        """Make room for derivatives: an array for each product, and its columns."""
        whole, columns = [], []
        for piece in self.pieces(inputs):
            whole.append(np.empty((*piece.x.shape[:-1], len(piece.weight)), piece.x.dtype))
            columns += self.columns(piece, whole[-1])
        return whole, columns

    def backward(
        self, inputs: tuple[Array, Array, Array], whole: list[Array]
    ) -> tuple[list[Array | None], dict[str, Array]]:
        """Compute derivatives by the input that each product begins with, and by the weights."""
        dinputs: list[Array | None] = [None, None, None]
        parameters: dict[str, Array] = {}
        if self.together is not None:
            parameters["in_proj_weight"] = np.empty_like(self.together)
        if self.bias is not None:
            parameters["in_proj_bias"] = np.empty_like(self.bias)
        for piece, d in zip(self.pieces(inputs), whole, strict=True):
            dx, dweight, dbias = affine_back(d, piece.x, piece.weight, self.batch_invariant)
            dinputs[piece.which[0]] = dx
            if self.together is None:
                parameters[piece.name] = dweight
            else:
                parameters[piece.name][piece.rows] = dweight
            if self.bias is not None:
                parameters["in_proj_bias"][piece.bias_rows] = dbias
        return dinputs, parameters


@dataclass
class Piece:
    """One product: which of query, key and value it gives, and with what."""

    x: Array
    which: tuple[int, int]
    name: str
    weight: Array
    rows: slice
    bias: Array | None
    bias_rows: slice


def by_argument(
    dinputs: list[Array | None], memory: bool, value: bool
) -> tuple[Array, Array | None, Array | None]:
    """Add derivatives by what query, key and value are made of to the arguments they came from."""

    def add(*parts: Array | None) -> Array | None:
        there = [p for p in parts if p is not None]
        return sum(there[1:], there[0]) if there else None

    dquery, dkey, dvalue = dinputs
    of_value = dvalue if value else None
    of_memory = add(dkey, None if value else dvalue)
    dx = dquery if memory else add(dquery, of_memory)
    assert dx is not None
    return dx, (of_memory if memory else None), of_value
