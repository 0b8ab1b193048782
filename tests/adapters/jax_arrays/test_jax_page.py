"""What docs/guide/jax.md shows runs, and prints what it says; its table is of its file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.adapters import jax_page
from page_blocks import run_blocks
from paths import ROOT

jax: Any = pytest.importorskip("jax")


def test_blocks_run_and_print_what_they_show() -> None:
    assert run_blocks(ROOT / "docs" / "guide" / "jax.md") > 3


def test_the_table_is_that_of_the_file() -> None:
    text = (ROOT / "docs" / "guide" / "jax.md").read_text("utf-8")
    result = json.loads((ROOT / "benchmarks" / "results" / "jax.json").read_text("utf-8"))
    assert jax_page.rewrite(text, result) == text
