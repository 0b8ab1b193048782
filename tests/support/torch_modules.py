"""Modules of PyTorch with and without regard inside; for tests that have PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

nn = torch.nn


def spread(model: Any) -> Any:
    """Make biases something else than the zeros they begin with."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1.0 if parameter.mean() > 0.5 else 0.0, 0.3)
    return model


def results(model: Any, arguments: list[Any], options: dict[str, Any]) -> list[Any]:
    """Outputs, and gradients by parameters, inputs and masks that have some."""
    model.zero_grad()
    every = [*arguments, *(x for x in options.values() if isinstance(x, torch.Tensor))]
    moving = [x for x in every if x.requires_grad]
    outputs = model(*arguments, **options)
    outputs = [x for x in (outputs if isinstance(outputs, tuple) else [outputs]) if x is not None]
    loss = sum((x * torch.linspace(0.0, 1.0, x.numel()).view(x.shape)).sum() for x in outputs)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [*parameters, *moving], allow_unused=True)
    return [*outputs, *(x for x in gradients if x is not None)]


def check(model: Any, arguments: list[Any], options: dict[str, Any]) -> None:
    want = results(model, arguments, options)
    with adapter.patch(model):
        got = results(model, arguments, options)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
