"""What docs/guide/pytorch.md shows runs, and prints what it says."""

from __future__ import annotations

from typing import Any

import pytest

from page_blocks import run_blocks
from paths import ROOT

torch: Any = pytest.importorskip("torch")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_blocks_run_and_print_what_they_show() -> None:
    assert run_blocks(ROOT / "docs" / "guide" / "pytorch.md") > 5
