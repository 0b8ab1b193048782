"""Hessian-vector products of the example, against complex steps through the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def gradient(inputs: list[Any], target: Any, causal: bool, softcap: float) -> list[Any]:
    """Of the squared error, by the definition; analytic in its inputs, so they may be complex."""
    query, key, value = inputs
    scale = query.shape[-1] ** -0.5
    capped = np.tanh(scale * query @ key.swapaxes(-1, -2) / softcap)
    sees = np.tri(query.shape[-2], key.shape[-2], key.shape[-2] - query.shape[-2], dtype=bool)
    weights = np.where(sees | (not causal), np.exp(softcap * capped), 0)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    out = weights @ value
    dout = out - target
    by_row = (dout * out).sum(axis=-1, keepdims=True)
    by_score = scale * weights * (dout @ value.swapaxes(-1, -2) - by_row) * (1 - capped**2)
    return [by_score @ key, by_score.swapaxes(-1, -2) @ query, weights.swapaxes(-1, -2) @ dout]


def problem(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    shapes = (3, 40, 8), (3, 51, 8), (3, 51, 5)
    inputs, moves = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    return inputs, moves, rng.standard_normal((3, 40, 5))


@pytest.mark.parametrize(("points", "error"), [(2, 1e-9), (4, 2e-11), (8, 2e-12)])
@pytest.mark.parametrize("causal", [False, True])
def test_product_is_the_derivative_of_the_gradient(
    rng: np.random.Generator, causal: bool, points: int, error: float
) -> None:
    import hessian_vector as example

    inputs, moves, target = problem(rng)
    # A step of 1e-30 leaves nothing out, and nothing is subtracted: exact but for rounding.
    ahead = [x + 1e-30j * move for x, move in zip(inputs, moves, strict=True)]
    expected = [x.imag / 1e-30 for x in gradient(ahead, target, causal, 4.0)]
    loss = example.Loss.squared_error(target)
    got = example.hessian_product(loss, inputs, moves, points, causal=causal, softcap=4.0)
    largest = max(np.abs(x).max() for x in expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=error * largest)


def test_gauss_newton_product_is_that_of_the_jacobian(rng: np.random.Generator) -> None:
    import hessian_vector as example
    import regard

    shapes = (1, 3, 4), (1, 4, 4), (1, 4, 2)
    inputs = [rng.standard_normal(shape) for shape in shapes]
    loss = example.Loss.squared_error(np.zeros((1, 3, 2)))
    ends = np.cumsum([x.size for x in inputs])
    columns, products = [], []
    for unit in np.eye(ends[-1]):
        moves = [x.reshape(n) for x, n in zip(np.split(unit, ends[:-1]), shapes, strict=True)]
        columns.append(regard.attention_jvp(*inputs, *moves)[1].ravel())
        product = example.gauss_newton_product(loss, inputs, moves)
        products.append(np.concatenate([x.ravel() for x in product]))
    np.testing.assert_allclose(products, np.array(columns) @ np.array(columns).T, atol=1e-13)


def test_directions_that_leave_scores_alone(rng: np.random.Generator) -> None:
    import hessian_vector as example

    inputs, moves, target = problem(rng)
    moves[0][:], moves[1][:] = 0, 0
    ahead = [x + 1e-30j * move for x, move in zip(inputs, moves, strict=True)]
    expected = [x.imag / 1e-30 for x in gradient(ahead, target, False, 1e9)]
    got = example.hessian_product(example.Loss.squared_error(target), inputs, moves)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_spectrum(rng: np.random.Generator) -> None:
    import hessian_vector as example

    matrix = rng.standard_normal((12, 12))
    matrix += matrix.T

    def product(arrays: Any) -> Any:
        flat = matrix @ np.concatenate([x.ravel() for x in arrays])
        return flat[:4].reshape(2, 2), flat[4:8], flat[8:]

    start = rng.standard_normal((2, 2)), rng.standard_normal(4), rng.standard_normal(4)
    values = np.linalg.eigvalsh(matrix)
    assert example.ends(product, start, 1e-9) == pytest.approx(values[[0, -1]], rel=1e-8)
    assert example.largest(product, start, 1e-9) == pytest.approx(values[-1], rel=1e-8)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    import hessian_vector as example

    assert example.main(["--length", "20", "--heads", "1", "--tolerance", "0.1"]) == 0
    assert "Gauss-Newton" in capsys.readouterr().out
