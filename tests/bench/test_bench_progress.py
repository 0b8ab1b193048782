"""How far a run has come: tqdm's bar, on a terminal only, and none without tqdm."""

from __future__ import annotations

import io
import sys

import pytest

from regard._tqdm import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    """What is written on standard error while three items go by."""
    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    assert list(progress(range(3), "work")) == [0, 1, 2]
    return written.getvalue()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    drawn = on_a_terminal(monkeypatch)
    assert "work:   0%" in drawn
    assert "0/3" in drawn


def test_no_bar_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "work")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_no_bar_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert on_a_terminal(monkeypatch) == ""
