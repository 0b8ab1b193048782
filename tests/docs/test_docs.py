"""What the documentation shows runs, and prints what it says."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import itertools
import pkgutil
import re

import numpy as np
import pytest

import regard
from paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(
    r"^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL
)


def blocks(text: str) -> list[tuple[str, str | None, int]]:
    """(source, what it prints, line) of each python block. The output is the ```text block, or the
    one without a language, that follows with nothing but blank lines between."""
    found = []
    fences = list(FENCE.finditer(text))
    for fence, after in itertools.zip_longest(fences, fences[1:]):
        if fence["language"] not in ("python", "pycon"):
            continue
        output = None
        if (
            after
            and after["language"] in ("text", "")
            and not text[fence.end() : after.start()].strip()
        ):
            output = after["body"]
        found.append((fence["body"], output, text.count("\n", 0, fence.start()) + 2))
    return found


def run_page(text: str, name: str) -> int:
    """Run the python blocks of a page in order, in one namespace. Returns how many there are."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    page = blocks(text)
    for source, output, line in page:
        if source.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(source, namespace, name, name, line - 1)
            told: list[str] = []
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            runner.run(test, out=told.append, clear_globs=False)
            assert not runner.failures, "".join(told)
            namespace.update(test.globs)
            continue
        printed = io.StringIO()
        # The line numbers of a traceback are those of the page.
        code = compile("\n" * (line - 1) + source, name, "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if output is not None:
            assert printed.getvalue().split() == output.split(), f"{name}:{line} prints otherwise"
    return len(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_of(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    count = run_page(page.read_text(encoding="utf-8"), str(page))
    if page.name == "README.md":
        assert count, "the README shows no Python"


def test_run_page_tells_wrong_output():
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert run_page(page.format(2), "page") == 1
    with pytest.raises(AssertionError, match="page:2"):
        run_page(page.format(3), "page")
    with pytest.raises(AssertionError, match="Expected"):
        run_page("```python\n>>> 1 + 1\n3\n```\n", "page")


def public_modules() -> list[str]:
    """Every module but the programs', which run when they are imported."""
    walk = pkgutil.walk_packages(regard.__path__, "regard.")
    return ["regard", *(m.name for m in walk if not m.name.endswith("__main__"))]


@pytest.mark.parametrize("name", public_modules())
def test_doctests_of(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Rivals and plots need what only some extras install; nothing of ours may be missing.
        if (error.name or "").startswith("regard"):
            raise
        pytest.skip(f"needs {error.name}")
    failures, _ = doctest.testmod(module)
    assert failures == 0


PUBLIC = [*(name for name in regard.__all__ if not name.startswith("__")), "bfloat16"]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    value = getattr(regard, name)
    if isinstance(value, np.dtype):  # has no docstring of its own: the reference says what it is
        reference = (ROOT / "docs" / "api.rst").read_text()
        assert re.search(
            rf"^\.\. py:data:: regard\.{name}\n(   :.*\n)*\n   \S", reference, re.MULTILINE
        )
        return
    doc = value.__doc__
    assert doc
    assert doc.strip()


def test_attention_has_numpydoc_sections_and_examples():
    doc = regard.attention.__doc__
    for section in ("Parameters", "Returns", "Raises", "References", "Examples"):
        assert re.search(rf"^\s*{section}\n\s*-+$", doc, re.MULTILINE), section
    assert ">>>" in doc
