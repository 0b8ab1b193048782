"""A run with a rival: who is measured, and what the report and its file say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import regard
from benchmarks.compare import runner
from benchmarks.compare.report import OWN, Report
from benchmarks.compare.rivals.torch_rival import Torch
from regard.bench.cases import CASES
from regard.bench.report import Report as OwnReport
from small_cases import BACKWARD, BLOCKS, FULL, OPTIONS, SMALL


@pytest.fixture(scope="module")
def report() -> Report:
    cases = (
        replace(FULL, name="tiny"),
        replace(SMALL["bias"], name="tiny-bias"),
        replace(OPTIONS["cosine"], name="tiny-cosine"),
        replace(OPTIONS["summary"], name="option-summary"),
        replace(BLOCKS, name="tiny-blocks"),
        replace(BACKWARD["window"], name="backward-window"),
        replace(BACKWARD["full"], name="tiny-gradients"),
        replace(SMALL["bfloat16"], name="tiny-bf16"),
        replace(SMALL["decode int8"], name="tiny-int8", key_length=400),
        CASES[-1],
    )
    asked = runner.Options(rivals=("numpy",), seconds=0.001, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        # Whether BLAS can be held to so many threads does not matter to what is tested here.
        patch.setattr("benchmarks.compare.rivals.numpy_rival._limit_blas", lambda threads: True)
        return runner.run(asked, cases)


def test_run_measures_regard_and_its_rival(report: Report) -> None:
    tiny, bias, *more, gradients, half, decode, call = report.rows
    assert report.isa == regard.active_isa()
    assert report.contenders == {OWN: regard.__version__, "numpy": np.__version__}
    for row in (tiny, bias):
        assert set(row.results) == {OWN, "numpy"}
        assert all(row.trusted(name) and row.results[name].seconds > 0 for name in row.results)
        assert row.ceiling > 0
    assert tiny.baseline is None
    assert bias.baseline is not None
    assert bias.baseline.way == "without mask or bias"
    assert gradients.unsupported == {"numpy": "has no gradients"}
    assert gradients.baseline is None
    for row in more:
        assert row.baseline is not None
        assert row.baseline.way == "plain"
        reason = "has no gradients" if row.case.backward else "not measured with this option"
        assert row.unsupported == {"numpy": reason}
    for row, larger in ((half, "in float32"), (decode, "in bfloat16")):
        assert row.baseline is not None
        assert row.baseline.way == larger
        assert row.unsupported == {"numpy": "has no fast products of smaller types"}
    assert half.bandwidth is None
    assert decode.bandwidth is not None
    assert decode.percent() == pytest.approx(100 * decode.gigabytes() / decode.bandwidth)
    assert half.units[OWN] == pytest.approx(half.own.error / (2**-7 * 3), rel=0.6)
    assert decode.units == {}
    assert call.baseline is not None
    assert call.baseline.way == "empty call"
    assert report.wrong() == []


def test_report_survives_json(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    with pytest.raises(ValueError, match="not a bench report"):
        Report.from_json("[]")
    with pytest.raises(ValueError, match="not a bench report"):
        Report.from_json('{"schema": 0, "kind": "bench"}')


def test_files_of_both_benchmarks_are_of_one_form(report: Report) -> None:
    text = report.to_json()
    assert OwnReport.from_json(text).to_json() == text


def test_report_names_the_machine_and_every_case(report: Report) -> None:
    text = str(report)
    assert report.machine["cpu"] in text
    assert all(row.case.name in text for row in report.rows)
    assert "numpy " + np.__version__ in text


def test_report_says_what_options_cost(report: Report) -> None:
    cosine, summary, blocks = (row for row in report.rows if row.case.group == "options")
    for row in (cosine, summary, blocks):
        assert row.baseline is not None
        assert row.times_plain() == row.own.seconds / row.baseline.seconds
    lines = {
        row.case.option: f"{row.times_plain():.2f}x plain" for row in (cosine, summary, blocks)
    }
    text = str(report)
    assert all(line in text for line in lines.values())
    assert f"for its density, {lines['blocks']}" in text
    window = report.rows[5]
    assert f"a pair, {window.times_plain():.2f}x plain" in text
    assert report.rows[0].times_plain() is None


def test_missing_rival_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "available", classmethod(lambda cls: False))
    started, missing = runner.start_rivals(("torch", "numpy"), 1)
    assert [rival.name for rival in started] == ["numpy"]
    assert missing == {"torch": "not installed (pip install torch)"}


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown rival 'tensorflow'; there are torch, onnx"):
        runner.run(runner.Options(rivals=("tensorflow",)))
    with pytest.raises(ValueError, match="no case matches 'nothing'"):
        runner.run(runner.Options(pattern="nothing"))
