"""Clipping against PyTorch's, and its edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from regard.nn.training import clip_by_global_norm, clip_by_value, global_norm


def gradients(dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "a": rng.standard_normal((4, 3)).astype(dtype),
        "b": rng.standard_normal(5).astype(dtype),
    }


@pytest.mark.parametrize("maximum", [0.5, 1e-5, 100.0])
def test_norm_is_clipped_as_by_torch(maximum: float) -> None:
    torch: Any = pytest.importorskip("torch")
    tensors = {name: torch.zeros(g.shape, dtype=torch.float64) for name, g in gradients().items()}
    for name, g in gradients().items():
        tensors[name].grad = torch.from_numpy(g)
    before = torch.nn.utils.clip_grad_norm_(tensors.values(), maximum)
    clipped, norm = clip_by_global_norm(gradients(), maximum)
    assert norm == pytest.approx(before.item(), rel=1e-14)
    for name, g in clipped.items():
        np.testing.assert_allclose(g, tensors[name].grad.numpy(), rtol=1e-13)


def test_values_are_clipped_as_by_torch() -> None:
    torch: Any = pytest.importorskip("torch")
    for name, g in gradients().items():
        tensor = torch.zeros(g.shape, dtype=torch.float64)
        tensor.grad = torch.from_numpy(g.copy())
        torch.nn.utils.clip_grad_value_([tensor], 0.4)
        np.testing.assert_array_equal(clip_by_value({name: g}, 0.4)[name], tensor.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_is_that_of_all_numbers(dtype: Any) -> None:
    whole = np.concatenate([g.ravel() for g in gradients(dtype).values()]).astype(np.float64)
    expected = np.linalg.norm(whole)
    clipped, norm = clip_by_global_norm(gradients(dtype), 0.5)
    assert norm == pytest.approx(expected, rel=1e-14)
    assert global_norm(clipped) == pytest.approx(0.5, rel=1e-5)
    assert {g.dtype for g in clipped.values()} == {np.dtype(dtype)}
    for name, g in clipped.items():
        np.testing.assert_allclose(g / gradients(dtype)[name], 0.5 / expected, rtol=1e-5)


def test_what_is_small_stays_as_it_is() -> None:
    clipped, norm = clip_by_global_norm(gradients(), 100.0)
    for name, g in gradients().items():
        np.testing.assert_array_equal(clipped[name], g)
    assert clip_by_global_norm({"x": np.zeros(3)}, 1.0)[1] == 0
    assert norm < 100


def test_squares_are_summed_in_float64() -> None:
    _, norm = clip_by_global_norm({"x": np.full(4, 1e30, np.float32)}, 1.0)
    assert norm == pytest.approx(2e30, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_named(bad: float) -> None:
    broken = {**gradients(), "b": np.array([1.0, bad])}
    with pytest.raises(ValueError, match=r"gradients\['b'\] is not"):
        clip_by_global_norm(broken, 1.0)


def test_a_maximum_has_to_be_positive() -> None:
    for clip in (clip_by_global_norm, clip_by_value):
        with pytest.raises(ValueError, match="maximum has to be more than 0, not 0"):
            clip(gradients(), 0.0)
