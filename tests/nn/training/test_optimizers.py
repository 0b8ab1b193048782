"""AdamW and SGD against PyTorch's, and against their formulas, number by number."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest

from regard.nn.training import SGD, AdamW, matrices

SHAPES = {"weight": (7, 5), "bias": (5,), "scale": ()}
RATES = [0.03 * (1 + math.sin(step)) for step in range(50)]
ADAMS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.3},
    {"betas": (0.0, 0.5), "eps": 1e-3, "weight_decay": 0.0},
]
SGDS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.2},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.4},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
]
ALL = [(AdamW, options) for options in ADAMS] + [(SGD, options) for options in SGDS]


def problem(dtype: Any = np.float64) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Parameters, and gradients of 50 steps, of very different sizes."""
    rng = np.random.default_rng(0)
    parameters = {n: np.array(rng.standard_normal(s), dtype) for n, s in SHAPES.items()}
    sizes = 10.0 ** rng.integers(-4, 3, 50)
    return parameters, [
        {n: np.array(size * rng.standard_normal(s), dtype) for n, s in SHAPES.items()}
        for size in sizes
    ]


def run(optimizer: Any, parameters: Any, gradients: Any) -> tuple[Any, Any]:
    state = optimizer.init(parameters)
    for of_step, rate in zip(gradients, RATES, strict=True):
        parameters, state = optimizer.update(parameters, of_step, state, rate)
    return parameters, state


@pytest.mark.parametrize(("kind", "options"), ALL, ids=str)
def test_50_steps_are_those_of_torch(kind: Any, options: dict[str, Any]) -> None:
    torch: Any = pytest.importorskip("torch")
    parameters, gradients = problem()
    tensors = {n: torch.tensor(x, requires_grad=True) for n, x in parameters.items()}
    theirs = getattr(torch.optim, kind.__name__)(tensors.values(), lr=1.0, **options)
    for of_step, rate in zip(gradients, RATES, strict=True):
        for name, gradient in of_step.items():
            tensors[name].grad = torch.from_numpy(gradient.copy())
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
    ours, _ = run(kind(**options), parameters, gradients)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(ours[name], tensor.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", ADAMS, ids=str)
def test_adamw_is_its_formula(options: dict[str, Any]) -> None:
    parameters, gradients = problem()
    ours, _ = run(AdamW(**options), parameters, gradients)
    (first, second), eps = options.get("betas", (0.9, 0.999)), options.get("eps", 1e-8)
    decay = options.get("weight_decay", 0.01)
    x, m, v = float(parameters["scale"]), 0.0, 0.0
    for t, (of_step, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        g = float(of_step["scale"])
        m, v = first * m + (1 - first) * g, second * v + (1 - second) * g * g
        x -= rate * decay * x
        x -= rate * m / (1 - first**t) / (math.sqrt(v / (1 - second**t)) + eps)
    assert float(ours["scale"]) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("options", SGDS, ids=str)
def test_sgd_is_its_formula(options: dict[str, Any]) -> None:
    parameters, gradients = problem()
    ours, _ = run(SGD(**options), parameters, gradients)
    momentum, dampening = options.get("momentum", 0.0), options.get("dampening", 0.0)
    x, u = float(parameters["scale"]), None
    for of_step, rate in zip(gradients, RATES, strict=True):
        g = float(of_step["scale"]) + options.get("weight_decay", 0.0) * x
        u = g if u is None else momentum * u + (1 - dampening) * g
        x -= rate * (g + momentum * u if options.get("nesterov") else u)
    assert float(ours["scale"]) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(("kind", "options"), ALL, ids=str)
def test_nothing_that_is_given_changes(kind: Any, options: dict[str, Any]) -> None:
    optimizer = kind(**options)
    parameters, gradients = problem()
    moved, state = optimizer.update(parameters, gradients[0], optimizer.init(parameters), 0.1)
    given = (moved, gradients[1], state)
    before = copy.deepcopy(given)
    optimizer.update(*given, 0.1)
    for tree, same in ((moved, before[0]), (gradients[1], before[1])):
        for name in SHAPES:
            np.testing.assert_array_equal(tree[name], same[name])
    np.testing.assert_equal(state, before[2])


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_float32_stays_float32(kind: Any) -> None:
    options = {"momentum": 0.9, "nesterov": True} if kind is SGD else {}
    optimizer = kind(**options, weight_decay=0.1)
    parameters, gradients = problem(np.float32)
    exact, _ = run(optimizer, *problem())
    moved, state = run(optimizer, parameters, gradients)
    assert state["step"] == 50
    trees = [moved, *(tree for tree in state.values() if isinstance(tree, dict))]
    assert {x.dtype for tree in trees for x in tree.values()} == {np.dtype(np.float32)}
    largest = max(np.abs(x).max() for x in exact.values())
    for name, x in moved.items():
        np.testing.assert_allclose(x, exact[name], rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_what_is_spared_does_not_decay(kind: Any) -> None:
    parameters = {"matrix": np.ones((2, 2)), "vector": np.ones(2)}
    optimizer = kind(weight_decay=0.5, decays=matrices)
    zeros = {name: np.zeros_like(x) for name, x in parameters.items()}
    moved, _ = optimizer.update(parameters, zeros, optimizer.init(parameters), 0.1)
    np.testing.assert_allclose(moved["matrix"], 0.95)
    np.testing.assert_array_equal(moved["vector"], 1)


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_trees_that_do_not_fit_are_refused(kind: Any) -> None:
    optimizer, (parameters, gradients) = kind(), problem()
    state = optimizer.init(parameters)
    less = {name: g for name, g in gradients[0].items() if name != "bias"}
    with pytest.raises(ValueError, match=r"parameters has 'bias', which gradients has not"):
        optimizer.update(parameters, less, state, 0.1)
    with pytest.raises(ValueError, match=r"gradients has 'more', which parameters has not"):
        optimizer.update(parameters, {**gradients[0], "more": np.ones(1)}, state, 0.1)
    with pytest.raises(ValueError, match=r"gradients\['bias'\] has another shape(.|\n)*\(4,\)"):
        optimizer.update(parameters, {**gradients[0], "bias": np.ones(4)}, state, 0.1)
    for bad in (np.ones(3, np.float16), np.ones(3, int), [1.0]):
        with pytest.raises(TypeError, match=r"parameters\['x'\] is (float16|int64|list)"):
            optimizer.init({"x": bad})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AdamW, {"betas": (0.9, 1.0)}, "betas"),
        (AdamW, {"eps": -1.0}, "eps"),
        (AdamW, {"weight_decay": -0.1}, "weight_decay"),
        (SGD, {"weight_decay": math.nan}, "weight_decay"),
        (SGD, {"momentum": -0.1}, "momentum"),
        (SGD, {"nesterov": True}, "nesterov needs momentum"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
    ],
)
def test_numbers_out_of_range_are_refused(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
