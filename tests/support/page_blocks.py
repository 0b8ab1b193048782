"""The ``py`` blocks of a page, which need packages that regard does not depend on."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```py\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def run_blocks(page: Path) -> int:
    """Run them in one namespace, hold what they print against the page, and count them."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    text = page.read_text("utf-8")
    found = list(_BLOCK.finditer(text))
    assert len(found) == text.count("```py\n")
    for block in found:
        line = text.count("\n", 0, block.start()) + 1
        printed = io.StringIO()
        # The line numbers of a traceback are those of the page.
        code = compile("\n" * line + block[1], str(page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        assert printed.getvalue() == (block[2] or ""), f"{page.name}:{line} prints otherwise"
    return len(found)
