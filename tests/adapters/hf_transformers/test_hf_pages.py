"""The guide's tables of models on regard are those of the committed results."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
from benchmarks.adapters import page
from paths import ROOT

RESULT: dict[str, Any] = {
    "machine": {"cpu": "A CPU", "cores": 2},
    "versions": {"transformers": "5.0", "torch": "2.0"},
    "rows": [
        {"name": "prefill 1024", "seconds": {"regard": 0.5, "sdpa": 0.75, "eager": 1.0}},
        {"name": "MiniLM", "seconds": {"regard": 0.3, "regard packed": 0.01, "sdpa": 0.25}},
    ],
    "peak_mib": {"regard": 100.0, "sdpa": 250.0},
}


def test_others_are_compared_with_the_best_of_ours():
    lines = page.users_table(RESULT).splitlines()
    assert "| prefill 1024 | 500 |  | 750 (1.50x) |  | 1000 (2.00x) |" in lines
    assert "| MiniLM | 300 | 10 | 250 (25.00x) |  |  |" in lines
    assert "| memory of 8,192 tokens | 100 MiB |  | 250 MiB (2.50x) |  |  |" in lines


@pytest.mark.parametrize("name", ["transformers.json", "transformers-users.json"])
def test_the_guide_holds_the_committed_results(name):
    file = ROOT / "benchmarks" / "results" / name
    text = page.PAGE.read_text("utf-8")
    assert page.rewrite(text, json.loads(file.read_text("utf-8"))) == text


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="the page has no <!-- users:begin -->"):
        page.rewrite("# Guide", RESULT)
