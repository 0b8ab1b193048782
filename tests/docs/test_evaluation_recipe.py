"""The metrics of other packages print what the guide shows, where the packages are installed."""

from __future__ import annotations

import pytest
from test_docs import run_page

from paths import ROOT


def test_metrics_of_other_packages():
    for package in ("jiwer", "sacrebleu", "sklearn"):
        pytest.importorskip(package)
    page = (ROOT / "docs/guide/training.md").read_text("utf-8")
    section = page[page.index("scikit-learn has accuracy") : page.index("## All of it")]
    assert run_page(section.replace("```py\n", "```python\n"), "training.md") == 1
