"""What docs/guide/pytorch.md shows runs, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import pytest

from paths import ROOT

torch: Any = pytest.importorskip("torch")

PAGE = ROOT / "docs" / "guide" / "pytorch.md"
BLOCK = re.compile(r"^```py\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_blocks_run_and_print_what_they_show() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    text = PAGE.read_text("utf-8")
    found = list(BLOCK.finditer(text))
    assert len(found) == text.count("```py\n") > 5
    for block in found:
        line = text.count("\n", 0, block.start()) + 1
        printed = io.StringIO()
        # The line numbers of a traceback are those of the page.
        code = compile("\n" * line + block[1], str(PAGE), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == (block[2] or ""), f"{PAGE.name}:{line} prints otherwise"
