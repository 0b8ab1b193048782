"""The graph: what it holds, what it refuses, and losses that depend on the LSE."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_grids import randn

from regard import flash_attn

STARTS = torch.tensor([0, 3, 7], dtype=torch.int32)


def dense(*x: Any, **options: Any) -> Any:
    return flash_attn.flash_attn_func(*x, causal=True, **options)


def packed(*x: Any, **options: Any) -> Any:
    flat = (y.flatten(0, 1) for y in x)
    return flash_attn.flash_attn_varlen_func(*flat, STARTS, STARTS, 4, 4, causal=True, **options)


def inputs() -> list[Any]:
    return [randn(1, 7, heads, 5, dtype=torch.float64).requires_grad_() for heads in (4, 2, 2)]


@pytest.mark.parametrize("function", [dense, packed])
def test_gradcheck_with_the_lse(function: Any) -> None:
    def call(*x: Any) -> Any:
        out, lse, _ = function(*x, softcap=2.0, return_attn_probs=True)
        return out, lse

    assert torch.autograd.gradcheck(call, inputs())
    assert torch.autograd.gradcheck(lambda *x: call(*x)[1], inputs())


@pytest.mark.parametrize("function", [dense, packed])
def test_only_needed_gradients_and_no_graph_without_any(function: Any) -> None:
    q, k, v = inputs()
    want = torch.autograd.grad(function(q, k, v).sum(), [q, k, v])
    function(q.detach(), k, v.detach()).sum().backward()
    assert q.grad is None
    assert v.grad is None
    assert torch.equal(k.grad, want[1])
    with torch.no_grad():
        assert not function(q, k, v).requires_grad
    assert not function(q.detach(), k.detach(), v.detach()).requires_grad


@pytest.mark.parametrize("function", [dense, packed])
def test_changed_tensors_and_second_derivatives(function: Any) -> None:
    q, k, v = inputs()
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        torch.autograd.grad(function(q, k, v).sum(), q, create_graph=True)
    moved = q * 1
    out = function(moved, k, v)
    moved.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        out.sum().backward()


def test_a_row_without_keys_has_no_gradient_through_its_lse() -> None:
    q, k, v = (randn(1, n, 2, 8).requires_grad_() for n in (5, 2, 2))
    out, lse, _ = dense(q, k, v, return_attn_probs=True)
    seen = lse.isfinite()
    assert seen[0, 0].tolist() == [False, False, False, True, True]
    gradients = torch.autograd.grad(out.sum() + lse[seen].sum(), [q, k, v])
    assert all(bool(x.isfinite().all()) for x in gradients)
    assert float(gradients[0][:, :3].abs().max()) == 0
    assert float(gradients[0][:, 3:].abs().min()) > 0


def test_a_training_step_with_one_projection() -> None:
    """Gradients of a packed tensor are those of its parts, and the loss falls."""
    torch.manual_seed(0)
    project, head = torch.nn.Linear(16, 48), torch.nn.Linear(16, 4)
    x, labels = torch.randn(32, 6, 16), torch.arange(32) % 4
    optimizer = torch.optim.Adam([*project.parameters(), *head.parameters()], 1e-2)
    losses = []
    for _ in range(60):
        qkv = project(x).unflatten(-1, (3, 2, 8))
        out = flash_attn.flash_attn_qkvpacked_func(qkv)
        if not losses:
            apart = flash_attn.flash_attn_func(*qkv.unbind(2))
            dout = torch.randn_like(out)
            got, want = (
                torch.autograd.grad(y, qkv, dout, retain_graph=True)[0] for y in (out, apart)
            )
            assert torch.equal(got, want)
        loss = torch.nn.functional.cross_entropy(head(out.flatten(2)).mean(1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
