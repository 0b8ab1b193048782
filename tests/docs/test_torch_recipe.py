"""The recipe for tensors of bfloat16 runs, where PyTorch is there to run it."""

from __future__ import annotations

import pytest
from test_docs import run_page

from paths import ROOT


def test_tensors_of_bfloat16():
    pytest.importorskip("torch")
    page = (ROOT / "docs/guide/arrays.md").read_text("utf-8")
    lines = page[page.index("## bfloat16\n") : page.index("## Which kernel")]
    start = page[: page.index("## Grouped-query")]
    assert run_page(start + lines.replace("```py\n", "```python\n"), "arrays.md") == 3
