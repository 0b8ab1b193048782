"""Gradients of a batch in pieces: those of the whole, the same bits by any number of workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest

import training_problems as problem
from regard.nn.training import accumulate_gradients, process_pool


@pytest.fixture(scope="module", params=[1, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    with process_pool(request.param) as executor:
        yield executor


def pieces(dtype: Any, sizes: tuple[int, ...] = (10, 20, 5, 25)) -> list[Any]:
    x, classes = problem.examples(sum(sizes), dtype)
    ends = np.cumsum(sizes)[:-1]
    return list(zip(np.split(x, ends), np.split(classes, ends), strict=True))


def test_pieces_give_the_gradients_of_the_whole() -> None:
    parameters = problem.parameters()
    expected, whole = problem.loss_and_gradients(parameters, problem.examples(60))
    loss, gradients = accumulate_gradients(
        problem.loss_and_gradients, parameters, pieces(np.float64), weights=[10, 20, 5, 25]
    )
    assert loss == pytest.approx(expected, rel=1e-14)
    for name, gradient in whole.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-12, atol=1e-15)


def test_without_weights_pieces_are_equal() -> None:
    parameters, parts = problem.parameters(), pieces(np.float64, (10, 10))
    losses = [problem.loss_and_gradients(parameters, part)[0] for part in parts]
    loss, _ = accumulate_gradients(problem.loss_and_gradients, parameters, parts)
    assert loss == pytest.approx(np.mean(losses), rel=1e-15)


def test_processes_give_the_same_bits(pool: ProcessPoolExecutor) -> None:
    parameters, parts = problem.parameters(np.float32), pieces(np.float32)
    weights = [10, 20, 5, 25]
    # So small products have one thread in any process.
    expected, whole = accumulate_gradients(
        problem.loss_and_gradients, parameters, parts, weights=weights
    )
    loss, gradients = accumulate_gradients(
        problem.loss_and_gradients, parameters, parts, weights=weights, executor=pool
    )
    assert loss == expected
    for name, gradient in whole.items():
        assert gradient.dtype == np.float32
        np.testing.assert_array_equal(gradients[name], gradient)


def test_threads_give_the_same_bits() -> None:
    parameters, parts = problem.parameters(np.float32), pieces(np.float32)
    _, whole = accumulate_gradients(problem.loss_and_gradients, parameters, parts)
    with ThreadPoolExecutor(3) as executor:
        _, gradients = accumulate_gradients(
            problem.loss_and_gradients, parameters, parts, executor=executor
        )
    for name, gradient in whole.items():
        np.testing.assert_array_equal(gradients[name], gradient)


def test_dask_gives_the_same_bits() -> None:
    distributed: Any = pytest.importorskip("distributed")
    parameters, parts = problem.parameters(np.float32), pieces(np.float32)
    _, whole = accumulate_gradients(problem.loss_and_gradients, parameters, parts)
    with distributed.Client(n_workers=2, processes=False, dashboard_address=":0") as client:
        _, gradients = accumulate_gradients(
            problem.loss_and_gradients, parameters, parts, executor=client.get_executor()
        )
    for name, gradient in whole.items():
        np.testing.assert_array_equal(gradients[name], gradient)


def test_an_error_in_a_process_arrives(pool: ProcessPoolExecutor) -> None:
    with pytest.raises(ArithmeticError, match="the piece is broken"):
        accumulate_gradients(problem.broken, problem.parameters(), [0], executor=pool)


def test_a_process_that_dies_is_no_hang() -> None:
    with process_pool(1) as executor, pytest.raises(BrokenProcessPool):
        accumulate_gradients(problem.dead, problem.parameters(), [0], executor=executor)


def test_processes_have_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with process_pool(1, threads=3) as executor:
        loss, _ = accumulate_gradients(
            problem.threads_of, problem.parameters(), [0], executor=executor
        )
    assert loss == 3
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_parameters_stay_as_they_are() -> None:
    parameters = problem.parameters()

    def own_parameters(weights: Any, piece: Any) -> Any:
        return 1.0, weights

    _, gradients = accumulate_gradients(own_parameters, parameters, [0, 1, 2])
    for name, x in problem.parameters().items():
        np.testing.assert_array_equal(parameters[name], x)
        np.testing.assert_allclose(gradients[name], x)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [np.nan, 1.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="for 2 pieces"):
        accumulate_gradients(problem.broken, problem.parameters(), [0, 1], weights=weights)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="pieces is empty"):
        accumulate_gradients(problem.broken, problem.parameters(), [])
    with pytest.raises(ValueError, match="which gradients has not"):
        accumulate_gradients(lambda *_: (1.0, {}), problem.parameters(), [0])
    with pytest.raises(ValueError, match="workers has to be at least 1, not 0"):
        process_pool(0)
    with pytest.raises(ValueError, match="threads has to be at least 1, not 0"):
        process_pool(1, threads=0)
