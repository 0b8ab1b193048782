"""Schedules against PyTorch's and transformers', and at the steps where their formulas bend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from regard.nn.training import schedules

STEPS = 40


def of_torch(make: Callable[[Any, Any], Any], rate: float) -> list[float]:
    """Rates that a scheduler of PyTorch sets, step by step."""
    torch: Any = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def of_transformers(name: str, *arguments: Any, **options: Any) -> Callable[[Any, Any], Any]:
    transformers: Any = pytest.importorskip("transformers")
    make = getattr(transformers, name)
    return lambda _, optimizer: make(optimizer, *arguments, **options)


def test_linear_warmup_is_that_of_transformers() -> None:
    theirs = of_torch(of_transformers("get_constant_schedule_with_warmup", 7), 0.3)
    ours = schedules.Constant(0.3, warmup=7)
    assert [ours(step) for step in range(STEPS)] == pytest.approx(theirs, rel=1e-14)


@pytest.mark.parametrize("warmup", [0, 6])
def test_linear_is_that_of_transformers(warmup: int) -> None:
    theirs = of_torch(of_transformers("get_linear_schedule_with_warmup", warmup, 30), 0.3)
    ours = schedules.Linear(0.3, 30, warmup)
    assert [ours(step) for step in range(STEPS)] == pytest.approx(theirs, rel=1e-13)


@pytest.mark.parametrize("warmup", [0, 6])
def test_cosine_is_that_of_transformers(warmup: int) -> None:
    theirs = of_torch(of_transformers("get_cosine_schedule_with_warmup", warmup, 30), 0.3)
    ours = schedules.Cosine(0.3, 30, warmup)
    # Their cosine goes up again after the end; ours stays.
    assert [ours(step) for step in range(31)] == pytest.approx(theirs[:31], rel=1e-12, abs=1e-16)
    assert [ours(step) for step in range(30, STEPS)] == [0.0] * 10


def test_cosine_with_a_lowest_rate_is_that_of_torch() -> None:
    theirs = of_torch(
        lambda torch, optimizer: torch.CosineAnnealingLR(optimizer, STEPS, eta_min=0.02), 0.3
    )
    ours = schedules.Cosine(0.3, STEPS, lowest=0.02)
    assert [ours(step) for step in range(STEPS)] == pytest.approx(theirs, rel=1e-12)


def test_inverse_square_root_is_that_of_transformers() -> None:
    theirs = of_torch(of_transformers("get_inverse_sqrt_schedule", 9), 0.3)
    ours = schedules.InverseSquareRoot(0.3, 9)
    assert [ours(step) for step in range(STEPS)] == pytest.approx(theirs, rel=1e-13)


def test_inverse_square_root_is_that_of_the_paper() -> None:
    ours = schedules.InverseSquareRoot.of_dim(64, warmup=10)
    theirs = [64**-0.5 * min(n**-0.5, n * 10**-1.5) for n in range(1, STEPS)]
    assert [ours(step) for step in range(1, STEPS)] == pytest.approx(theirs, rel=1e-14)


def test_steps_are_those_of_torch() -> None:
    theirs = of_torch(lambda torch, optimizer: torch.StepLR(optimizer, 7, gamma=0.3), 0.3)
    ours = schedules.Step(0.3, every=7, factor=0.3)
    assert [ours(step) for step in range(STEPS)] == pytest.approx(theirs, rel=1e-13)


def test_where_schedules_bend() -> None:
    cosine = schedules.Cosine(2.0, steps=14, warmup=4, lowest=0.5)
    assert [cosine(n) for n in (0, 2, 4, 9, 14, 99)] == pytest.approx([0, 1, 2, 1.25, 0.5, 0.5])
    linear = schedules.Linear(2.0, steps=14, warmup=4)
    assert [linear(n) for n in (0, 2, 4, 9, 14, 99)] == pytest.approx([0, 1, 2, 1, 0, 0])
    falls = schedules.Step(2.0, every=3, factor=0.5)
    assert [falls(n) for n in (0, 2, 3, 6)] == [2, 2, 1, 0.5]
    root = schedules.InverseSquareRoot(2.0, warmup=4)
    assert [root(n) for n in (0, 1, 4, 16)] == [0, 0.5, 2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Constant(-1.0), "rate has to be at least 0"),
        (lambda: schedules.Constant(1.0, warmup=-1), "warmup has to be at least 0"),
        (lambda: schedules.Linear(1.0, steps=5, warmup=5), "steps has to be more than warmup=5"),
        (lambda: schedules.Cosine(1.0, steps=5, lowest=1.5), "lowest has to be 0 to rate=1.0"),
        (lambda: schedules.InverseSquareRoot(1.0, warmup=0), "warmup has to be at least 1"),
        (lambda: schedules.Step(1.0, every=0), "every has to be at least 1"),
        (lambda: schedules.Step(1.0, every=1, factor=1.5), "factor 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
