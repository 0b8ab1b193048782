"""The example of functions of scores: the built-in options say the same."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")


def test_they_agree(capsys: pytest.CaptureFixture[str]) -> None:
    import own_scores as example

    assert example.main(["--heads", "2", "--length", "200", "--repeat", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line[:12].strip() for line in lines] == ["relative", "T5", "soft window", "softcap"]
    for line in lines:
        apart = [float(word) for word in line[12:].split()[:2]]
        assert max(apart) < 1e-4
