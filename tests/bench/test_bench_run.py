"""A run of the benchmark on regard alone: what it measures, and what it says."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import regard
from regard.bench import runner
from regard.bench.case import Case
from regard.bench.cases import CASES
from regard.bench.inputs import Inputs
from regard.bench.report import OWN, Report
from regard.bench.runner import Contender
from small_cases import FAST, FULL, OPTIONS, SMALL


@pytest.fixture(scope="module")
def report() -> Report:
    cases = (
        replace(FULL, name="tiny"),
        replace(SMALL["bias"], name="tiny-bias"),
        replace(OPTIONS["cosine"], name="tiny-cosine"),
        replace(SMALL["decode int8"], name="tiny-int8", key_length=400),
        CASES[-1],
    )
    return runner.run(runner.Options(seconds=0.001, seed=1), cases)


def test_regard_is_measured_beside_what_it_is_compared_with(report: Report) -> None:
    assert report.contenders == {OWN: regard.__version__}
    assert report.missing == {}
    ways = [None if row.baseline is None else row.baseline.way for row in report.rows]
    assert ways == [None, "without mask or bias", "plain", "in bfloat16", "empty call"]
    lines = str(report).splitlines()
    for row in report.rows:
        assert set(row.results) == {OWN}
        assert row.unsupported == {}
        assert row.trusted(OWN)
        line = next(line for line in lines if line.startswith(f"{row.case.name}  "))
        assert line.endswith(row.baseline_text() or row.error_text())
        if row.baseline is not None:
            assert f'ratio to the time "{row.baseline.way}": {row.case.name}' in lines
    assert "target" not in str(report)


def test_others_are_measured_in_turn_and_kept_in_the_file() -> None:
    calls = itertools.count()

    def others(
        case: Case, inputs: Inputs, own_error: float
    ) -> tuple[dict[str, Contender], dict[str, str]]:
        assert 0 < own_error < 1e-6
        assert inputs.query.shape == (2, 4, 40, 8)
        return {"other": Contender(lambda: next(calls), 1.0, "by hand")}, {"none": case.title}

    cases = (replace(FULL, name="tiny"),)
    report = runner.run(runner.Options(seconds=0.001, seed=1), cases, others)
    assert next(calls) > FAST.minimum
    (row,) = report.rows
    assert list(row.results) == [OWN, "other"]
    assert (row.results["other"].error, row.results["other"].way) == (1.0, "by hand")
    assert not row.trusted("other")
    assert row.unsupported == {"none": "2x4/2x40x8"}
    assert Report.from_json(report.to_json()) == report


def test_wrong_result_is_said_loudly(report: Report) -> None:
    row = report.rows[0]
    bad = replace(row, results={**row.results, OWN: replace(row.own, error=0.5)})
    text = str(replace(report, rows=[bad]))
    assert "WRONG RESULT: tiny" in text


def test_busy_machine_is_noticed(report: Report) -> None:
    row = report.rows[0]
    for seconds, cores, busy in ((2e-3, 1.5, True), (2e-3, 1.9, False), (1e-4, 1.0, False)):
        own = replace(row.own, seconds=seconds, cores=cores)
        changed = replace(report, threads=2, rows=[replace(row, results={OWN: own})])
        assert ("something else was running" in str(changed)) == busy


def test_more_than_the_ceiling_is_marked(report: Report) -> None:
    row = report.rows[0]
    assert not replace(row, ceiling=1e9).disturbed
    low = replace(row, ceiling=row.gflops() / 2)
    assert low.disturbed
    text = str(replace(report, rows=[low]))
    assert "200.0 %?" in text
    assert "the ceiling was disturbed: tiny" in text
    # The smallest call has no ceiling to speak of.
    assert not replace(report.rows[-1], ceiling=1e-9).disturbed


def test_a_disturbed_ceiling_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = itertools.chain([1e-9] * FAST.rounds, itertools.repeat(1e9))
    core = SimpleNamespace(ceiling=lambda *_: next(samples))
    monkeypatch.setattr(runner, "_core", core)
    row = runner.measure(FULL, np.random.default_rng(0), regard.active_isa(), 1, FAST)
    assert row.ceiling == 1e9


def test_pattern_matches_names_and_groups() -> None:
    chosen = runner.select(CASES, runner.Options(pattern="causal*"))
    assert {case.name for case in chosen} >= {"causal-256-d64", "causal-4k-d64"}
    assert all(case.group == "causal" for case in chosen)
    assert len(runner.select(CASES, runner.Options(quick=True))) < len(CASES)


def test_a_chosen_case_is_measured_quickly_too() -> None:
    for pattern in ("causal-256-d64", "1x8x256x64 causal", "1X8X256x64 Causal"):
        (case,) = runner.select(CASES, runner.Options(pattern=pattern, quick=True))
        assert case.name == "causal-256-d64"
        assert not case.quick
