"""Tensors for the tests of `regard.torch`; imported by those that have PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")


def tensors(*shapes: tuple[int, ...], dtype: Any = None) -> list[Any]:
    """Leaves that require gradients, of float64 unless told."""
    generator = torch.Generator().manual_seed(0)
    dtype = torch.float64 if dtype is None else dtype
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def detached(*shapes: tuple[int, ...], dtype: Any = None) -> list[Any]:
    """The same without gradients."""
    return [x.detach() for x in tensors(*shapes, dtype=dtype)]
