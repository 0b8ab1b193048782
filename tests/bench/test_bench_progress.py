"""How far a run has come: on a terminal only, with what is installed or a bar of its own."""

from __future__ import annotations

import io
import sys

import pytest

from regard import _progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(_progress.progress(range(3), label="x")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("total", [None, 3])
def test_progress_has_a_bar_of_its_own(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("tqdm", "rich.progress"):
        monkeypatch.setitem(sys.modules, module, None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(_progress.progress(iter("abc"), total=total, label="work")) == ["a", "b", "c"]
    drawn = terminal.getvalue()
    assert ("2/3" if total else "2 done") in drawn
    assert drawn.endswith("\r")
