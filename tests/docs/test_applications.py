"""The table of applications says what the committed figures say."""

from __future__ import annotations

import runpy

from paths import ROOT


def test_table_is_that_of_the_figures():
    made = runpy.run_path(str(ROOT / "docs" / "_make" / "applications.py"))
    text = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    assert made["page"](text) == text


def test_every_figure_has_a_page():
    names = {file.name.split(".")[0] for file in (ROOT / "examples" / "figures").glob("*.json")}
    pages = {file.stem for file in (ROOT / "docs" / "gallery").glob("*.md")}
    assert names
    assert names <= pages
