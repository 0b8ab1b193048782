"""Cross-entropy against PyTorch's and against the definition; what is ignored leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from regard.nn.training import cross_entropy, cross_entropy_vjp

OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"ignore_index": 2, "reduction": "sum"},
    {"label_smoothing": 0.3, "ignore_index": -1},
    {"label_smoothing": 1.0, "reduction": "sum"},
]


def problem(dtype: Any = np.float64, ignored: int = -100) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    logits = (5 * rng.standard_normal((3, 8, 6))).astype(dtype)
    targets = rng.integers(0, 6, (3, 8))
    targets[0, ::3] = ignored
    return logits, targets


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_and_gradient_are_those_of_torch(options: dict[str, Any]) -> None:
    torch: Any = pytest.importorskip("torch")
    logits, targets = problem(ignored=options.get("ignore_index", -100))
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        tensor.reshape(-1, 6), torch.from_numpy(targets).reshape(-1), **options
    )
    (3 * theirs).backward()
    loss, back = cross_entropy_vjp(logits, targets, **options)
    assert loss == pytest.approx(theirs.item(), rel=1e-13)
    assert cross_entropy(logits, targets, **options) == loss
    np.testing.assert_allclose(back(3.0), tensor.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_and_gradient_are_their_definition(options: dict[str, Any]) -> None:
    ignored, smoothing = options.get("ignore_index", -100), options.get("label_smoothing", 0.0)
    logits, targets = problem(ignored=ignored)

    def definition(z: Any) -> Any:
        logs = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        counted = np.argwhere(targets != ignored)
        rows = [
            -(1 - smoothing) * logs[b, i, targets[b, i]] - smoothing * logs[b, i].mean()
            for b, i in counted
        ]
        return sum(rows) / (1 if options.get("reduction") == "sum" else len(rows))

    loss, back = cross_entropy_vjp(logits, targets, **options)
    assert loss == pytest.approx(definition(logits), rel=1e-13)
    # Complex steps: exact derivatives of the definition.
    dlogits, unit = back(), np.zeros(logits.shape)
    for place in ((0, 0, 1), (0, 1, 2), (1, 4, 0), (2, 7, 5)):
        unit[:] = 0
        unit[place] = 1
        expected = definition(logits + 1e-30j * unit).imag / 1e-30
        assert dlogits[place] == pytest.approx(expected, rel=1e-12, abs=1e-17)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rows_that_are_ignored_leave_no_trace(reduction: Any) -> None:
    logits, targets = problem()
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": 0.1}
    loss, back = cross_entropy_vjp(logits, targets, **options)
    poisoned = np.asfortranarray(logits)  # in another order of memory too
    poisoned[targets == -100] = np.nan
    other, poisoned_back = cross_entropy_vjp(poisoned, targets, **options)
    assert other == loss
    np.testing.assert_array_equal(poisoned_back(), back())
    assert not back()[targets == -100].any()


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_large_logits_do_not_overflow(shift: float) -> None:
    logits, targets = problem(np.float32)
    loss, back = cross_entropy_vjp(100 * logits + np.float32(shift), targets)
    exact, exact_back = cross_entropy_vjp(
        (100 * logits + np.float32(shift)).astype(np.float64), targets
    )
    assert loss == pytest.approx(exact, rel=1e-6)
    assert back().dtype == np.float32
    np.testing.assert_allclose(back(), exact_back(), atol=1e-7)


def test_a_class_that_is_masked_by_infinity_has_no_gradient() -> None:
    loss, back = cross_entropy_vjp(np.array([[0.0, -np.inf, 0.0]]), [0])
    assert loss == pytest.approx(np.log(2))
    np.testing.assert_allclose(back(), [[-0.5, 0, 0.5]])


def test_float16_is_summed_in_float32() -> None:
    logits = np.zeros((1, 5000), np.float16)  # the sum of 5000 ones is 2048 in float16
    loss, back = cross_entropy_vjp(logits, [7])
    assert loss == pytest.approx(np.log(5000), rel=1e-6)
    assert back().dtype == np.float16


def test_all_ignored() -> None:
    logits, targets = np.ones((2, 3)), [-100, -100]
    with pytest.raises(ValueError, match="no target counts"):
        cross_entropy(logits, targets)
    loss, back = cross_entropy_vjp(logits, targets, reduction="sum")
    assert loss == 0
    assert not back().any()


@pytest.mark.parametrize(
    ("logits", "targets", "options", "error", "message"),
    [
        (np.ones((2, 3)), [0, 3], {}, ValueError, "a target is 3, but there are 3 classes"),
        (np.ones((2, 3)), [0, -1], {}, ValueError, "a target is -1"),
        (np.ones((2, 3)), [0], {}, ValueError, r"logits   \(2, 3\)\n  targets  \(1,\)"),
        (np.float64(1), [0], {}, ValueError, "targets do not fit"),
        (np.ones((2, 3), int), [0, 1], {}, TypeError, "logits are int64"),
        (np.ones((2, 3)), [0.0, 1.0], {}, TypeError, "targets float64"),
        (np.ones((2, 3)), [0, 1], {"label_smoothing": 1.1}, ValueError, "label_smoothing"),
        (np.ones((2, 3)), [0, 1], {"reduction": "none"}, ValueError, "reduction"),
    ],
)
def test_bad_input_is_refused(
    logits: Any, targets: Any, options: Any, error: type[Exception], message: str
) -> None:
    for function in (cross_entropy, cross_entropy_vjp):
        with pytest.raises(error, match=message):
            function(logits, targets, **options)
