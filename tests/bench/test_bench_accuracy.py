"""The benchmark's check against the oracle: it passes what is right and notices what is not."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

import regard
from regard import reference
from regard.bench import accuracy, backward, runner
from regard.bench.case import Case
from regard.bench.inputs import Inputs, options_of
from small_cases import BACKWARD, FULL, OPTIONS, SMALL, draw, oracle

NOT_SINGLE = {"summary"} if find_spec("numba") else {"summary", "score-mod"}
SINGLE = [name for name in OPTIONS if name not in NOT_SINGLE]


@pytest.mark.parametrize("case", [*SMALL.values(), *map(OPTIONS.__getitem__, SINGLE)])
@pytest.mark.parametrize("sampled", [False, True])
def test_oracle_rows_agree_with_the_whole_oracle(
    case: Case, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = draw(case)
    if sampled:
        monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
        monkeypatch.setattr(accuracy, "BLOCK_ROWS", 5)
    output = oracle(case, inputs)
    assert accuracy.largest_error(case, inputs, output) < 1e-14
    output[-1, -1, -1, -1] += 0.5  # the last row is always among the checked ones
    assert accuracy.largest_error(case, inputs, output) == pytest.approx(0.5)


def test_oracle_rows_notice_a_forgotten_causal_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
    case = SMALL["causal"]
    inputs = draw(case)
    output = oracle(replace(case, causal=False), inputs)
    assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, output))


@pytest.mark.parametrize("name", SINGLE)
def test_oracle_rows_notice_a_forgotten_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
    case = OPTIONS[name]
    inputs = draw(case)
    output = oracle(case, replace(inputs, more={}, bias=None))
    assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, output))


@pytest.mark.parametrize("field", [None, "lse", "entropy", "row_max", "top_weights", "pooled"])
def test_oracle_checks_what_a_summary_says(field: str | None) -> None:
    case = OPTIONS["summary"]
    inputs = draw(case)
    summary = runner.own_call(case, inputs, threads=1)()
    if field is not None:
        getattr(summary, field)[-1, -1, -1] += 0.5
    right = accuracy.acceptable(case, accuracy.largest_error(case, inputs, summary))
    assert right == (field is None)
    if field is None:
        summary.column_sums[-1, -1, -1] += 0.5
        assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, summary))


def test_nan_and_wrong_shape_are_not_acceptable() -> None:
    inputs = draw(FULL)
    for output in (np.full(inputs.query.shape, np.nan), np.zeros((1, 1, 1, 1))):
        assert not accuracy.acceptable(FULL, accuracy.largest_error(FULL, inputs, output))


def whole_gradients(case: Case, inputs: Inputs) -> dict[str, np.ndarray]:
    """Gradients of the whole problem, by the definition."""
    words = options_of(case, inputs)
    if case.bias:
        words["bias"] = inputs.bias
    arrays = (inputs.dout, inputs.query, inputs.key, inputs.value)
    found = reference.gradients(*map(reference.stored, arrays), **words)
    return {name: np.array(x) for name, x in found._asdict().items() if x is not None}


@pytest.mark.parametrize("name", BACKWARD)
@pytest.mark.parametrize("scores", [1 << 20, 200])
def test_oracle_of_parts_agrees_with_that_of_the_whole(
    name: str, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BACKWARD[name]
    # Of dropout, whole heads: the oracle's counters start at 0.
    monkeypatch.setattr(backward, "SCORES", 40 * 40 if name == "dropout" else scores)
    backward.oracle.cache_clear()
    inputs = draw(case)
    right = whole_gradients(case, inputs)
    assert set(right) == set(backward.wanted(case, inputs))

    def acceptable(**changed: np.ndarray | None) -> bool:
        gradients = regard.Gradients(**{**right, **changed})
        return accuracy.acceptable(case, accuracy.largest_error(case, inputs, gradients))

    assert accuracy.largest_error(case, inputs, regard.Gradients(**right)) < 1e-13
    for field, x in right.items():
        wrong = x.copy()
        wrong.flat[0] += 0.5 * np.abs(x).max()
        for bad in (None, wrong, x[..., :1], np.full_like(x, np.nan)):
            assert not acceptable(**{field: bad}), field


@pytest.mark.parametrize("name", BACKWARD)
def test_own_gradients_are_right(name: str) -> None:
    case = BACKWARD[name]
    inputs = draw(case)
    error = accuracy.largest_error(case, inputs, runner.own_call(case, inputs, threads=1)())
    assert error < (5e-6 if case.dtype == "float32" else 2e-2)
    if case.group == "backward":
        return
    plain = runner.baseline_call(case, inputs, threads=1)
    assert plain is not None
    assert plain[0] == "plain"
    error = accuracy.largest_error(case, inputs, plain[1]())
    assert not accuracy.acceptable(case, error)
