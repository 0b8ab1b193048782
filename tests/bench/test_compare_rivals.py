"""The libraries that regard is compared with compute the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.compare.rivals import RIVALS, Rival, Unsupported
from regard.bench import accuracy
from regard.bench.case import Case
from regard.bench.inputs import Inputs
from small_cases import BACKWARD, OPTIONS, SMALL, draw


def ways_of(rival: Rival, case: Case, inputs: Inputs) -> Iterator[Any]:
    with contextlib.suppress(Unsupported):
        yield from rival.ways(case, inputs)


@pytest.mark.parametrize("name", [*SMALL, "causal bias"])
@pytest.mark.parametrize("rival", RIVALS)
def test_rivals_agree_with_the_oracle(rival: str, name: str) -> None:
    kind = RIVALS[rival]
    if rival != "numpy" and not kind.available():
        pytest.skip(f"{rival} is not installed")
    if name == "causal bias" and "bias" not in kind.options:
        pytest.skip(f"{rival} is not measured with it")
    case, started = {**SMALL, "causal bias": OPTIONS["bias"]}[name], kind(1)
    if rival == "numpy":
        started._limit = True  # type: ignore[attr-defined]
    inputs = draw(case)
    ways = 0
    for way, build in ways_of(started, case, inputs):
        if way == "FlexAttention":
            continue  # compiling it takes longer than all other tests together
        try:
            result = build().result()
        except Unsupported:
            continue
        ways += 1
        error = accuracy.largest_error(case, inputs, result)
        # ONNX Runtime takes float64 and computes part of it in float32; a run says so.
        exact = 1e-12 if case.dtype == "float64" and rival != "onnxruntime" else 2e-5
        limits = {"float16": 8e-3, "bfloat16": 6e-2, "int8": 3e-2}
        assert error < limits.get(case.stored, exact), way
    narrow = rival == "llamacpp" and case.bias  # it has no float32 bias
    assert ways or narrow or case.dtype == "float64" or case.group in ("storage", "decode")


@pytest.mark.parametrize("name", ["full", "causal", "bfloat16", "window", "bias"])
@pytest.mark.parametrize("rival", [name for name, kind in RIVALS.items() if kind.gradients])
def test_gradients_of_rivals_agree_with_the_oracle(rival: str, name: str) -> None:
    kind, case = RIVALS[rival], BACKWARD[name]
    if not kind.available():
        pytest.skip(f"{rival} is not installed")
    if case.option and case.option not in kind.options:
        pytest.skip(f"{rival} is not measured with it")
    inputs = draw(case)
    ((prepared, found),) = kind(1).prepare(case, inputs)
    error = accuracy.largest_error(case, inputs, found)
    assert error < (5e-2 if case.dtype == "bfloat16" else 1e-5), prepared.way
