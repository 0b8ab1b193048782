"""The command line run in this process, with right results or with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from numpy.typing import NDArray

import regard
from regard import cli

Array = NDArray[Any]
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def patch_attention(monkeypatch: Patch, change: Callable[[Array, Array], Any]) -> None:
    """Let regard.attention return what `change` makes of the right (output, LSE)."""
    right = regard.attention

    def attention(*arrays: Any, return_lse: bool = False, **options: Any) -> Any:
        output, lse = change(*right(*arrays, return_lse=True, **options))
        return (output, lse) if return_lse else output

    monkeypatch.setattr(regard, "attention", attention)


def status_of(*argv: str) -> int:
    """Exit status, whether returned or raised by argparse."""
    try:
        return cli.main(argv)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 1
