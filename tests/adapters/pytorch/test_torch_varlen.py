"""Packed pieces of tensors: the pieces one by one, with gradients, and with the LSE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from torch_tensors import detached, tensors

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

STARTS = torch.tensor([0, 3, 3, 10], dtype=torch.int32)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"causal": True, "window": 3},
    {"softcap": 2.0, "dropout": 0.25, "seed": torch.tensor(3)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradcheck(options: dict[str, Any]) -> None:
    inputs = tensors((10, 4, 6), (10, 2, 6), (10, 2, 3), (4,))

    def call(q: Any, k: Any, v: Any, sinks: Any) -> Any:
        return adapter.varlen_attention(
            q, k, v, STARTS, STARTS, sinks=sinks, return_lse=True, **options
        )

    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pieces(dtype: str) -> None:
    kind = getattr(torch, dtype)
    query, key, value = tensors((10, 4, 8), (10, 2, 8), (10, 2, 8), dtype=kind)
    out, lse = adapter.varlen_attention(
        query, key, value, STARTS, STARTS, causal=True, return_lse=True
    )
    assert out.dtype == kind
    assert out.is_contiguous()
    gradients = torch.autograd.grad(out.float().square().sum() + lse.sum(), [query, key, value])
    for first, last in ((0, 3), (3, 10)):
        piece = [
            x[first:last].detach().transpose(0, 1).requires_grad_() for x in (query, key, value)
        ]
        alone, its = adapter.attention(*piece, causal=True, return_lse=True)
        assert torch.equal(out[first:last].transpose(0, 1), alone)
        assert torch.equal(lse[:, first:last], its)
        want = torch.autograd.grad(alone.float().square().sum() + its.sum(), piece)
        for a, b in zip(gradients, want, strict=True):
            assert torch.equal(a[first:last].transpose(0, 1), b)


def test_no_forward_mode_and_bad_input() -> None:
    (x,) = detached((10, 2, 4))
    forward = torch.autograd.forward_ad
    with forward.dual_level(), pytest.raises(NotImplementedError, match="for packed pieces"):
        adapter.varlen_attention(forward.make_dual(x, x), x, x, STARTS, STARTS)
    with pytest.raises(TypeError, match="cu_seqlens_k is a list"):
        adapter.varlen_attention(x, x, x, STARTS, [0, 10])
    with pytest.raises(ValueError, match="cu_seqlens_k"):
        adapter.varlen_attention(x, x, x, STARTS, STARTS[:-1])
    with pytest.raises(ValueError, match="query"):
        adapter.varlen_attention(x[0], x, x, STARTS, STARTS)


def test_position_table() -> None:
    bias = regard.bias.Relative(np.zeros((9, 2)))
    x, table = tensors((10, 2, 4), (9, 2))

    def call(x: Any, table: Any) -> Any:
        return adapter.varlen_attention(
            x, x, x, STARTS, STARTS, position_bias=bias, position_table=table
        )

    assert torch.autograd.gradcheck(call, (x, table))
