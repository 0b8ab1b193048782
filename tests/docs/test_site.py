"""What the site promises without being built: widths, names, versions, pictures of both themes."""

from __future__ import annotations

import pkgutil
import re
import sys

import numpy as np
import pytest

import regard
from paths import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md")) + sorted(DOCS.glob("[!_]*/*.md"))
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)


def long_lines(text: str, most: int = 100) -> list[str]:
    """Lines of code that the site would cut; the layers of the design page are a table."""
    return [
        line
        for fence in FENCE.finditer(text)
        if not fence["language"].startswith(("layers", "{"))
        for line in fence["body"].splitlines()
        if len(line) > most
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_code_fits(page):
    assert long_lines(page.read_text("utf-8")) == []


def test_a_long_line_is_seen():
    assert long_lines(f"```python\n{'x' * 101}\n```\n") == ["x" * 101]
    assert long_lines(f"```text\n{'x' * 100}\n```\n") == []


def test_first_line_of_the_home_page_fits_a_small_window():
    assert long_lines((DOCS / "index.md").read_text("utf-8"), most=88) == []


def reference() -> set[str]:
    """Every name that the reference has a page or an entry for."""
    text = (DOCS / "api.rst").read_text("utf-8")
    names = set(re.findall(r"^   ([\w.]+)$", text, re.MULTILINE))
    names |= set(re.findall(r"^\.\. py:(?:data|module):: (\S+)$", text, re.MULTILINE))
    start = text.index("currentmodule:: regard.reference")
    inside = re.findall(r"^   ([\w.]+)$", text[start : text.index("Command line")], re.MULTILINE)
    return (names - set(inside)) | {f"regard.reference.{name}" for name in inside}


def test_every_public_name_is_in_the_reference():
    wanted = {f"regard.{name}" for name in regard.__all__ if not name.startswith("__")}
    for module in ("masks", "bias", "positions", "plot"):
        found = getattr(regard, module)
        wanted |= {
            f"regard.{module}.{name}"
            for name in found.__all__
            if not hasattr(regard, name) or getattr(regard, name) is not getattr(found, name)
        }
    wanted |= {f"regard.reference.{name}" for name in regard.reference.__all__}
    assert wanted - reference() == set()


def test_every_name_of_the_reference_exists():
    for name in reference() - {"regard"}:
        adapter = name.split(".")[1]
        # Which may be missing.
        if adapter in ("dask", "torch", "jax", "keras", "onnx", "flash_attn", "transformers"):
            files = [*(ROOT / "python/regard").glob(f"{adapter}*")]
            assert files, name
            continue
        value = pkgutil.resolve_name(name)
        assert value is not None or isinstance(value, np.dtype)


def test_versions_agree():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(.*?)\](?: - (\S+))?$", changes, re.MULTILINE)
    assert released[0] == ("Unreleased", "")
    assert released[1][0] == version[1]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {version[1]}\ndate-released: {released[1][1]}\n" in citation


def test_words_that_people_search_for_are_in_the_vocabulary():
    words = (DOCS / "vocabulary.md").read_text("utf-8")
    for word in (
        "scaled_dot_product_attention", "attn_mask", "key_padding_mask", "flash_attn_func",
        "einsum", "macOS", "GPU",
    ):  # fmt: skip
        assert word in words, word


def test_pictures_have_a_twin_for_dark_pages():
    pictures = {path for path in DOCS.rglob("*.svg") if "_static" not in path.parts
                and "_build" not in path.parts}  # fmt: skip
    light = {path for path in pictures if not path.stem.endswith("-dark")}
    assert len(light) > 6
    assert {path.with_name(f"{path.stem}-dark.svg") for path in light} == pictures - light


def test_dark_drawing_is_that_of_the_light_one(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_make"))
    sys.modules.pop("theme", None)
    from theme import darkened

    drawing = (DOCS / "how-it-works.svg").read_text("utf-8")
    assert darkened(drawing) == (DOCS / "how-it-works-dark.svg").read_text("utf-8")
    assert darkened(drawing) != drawing
