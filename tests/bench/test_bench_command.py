"""The commands: `regard bench`, and `python -m benchmarks.compare` around the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.compare import command
from regard import cli
from regard.bench.cases import CASES
from regard.bench.report import Report

Main = Callable[[Sequence[str]], int]


def bench(words: Sequence[str]) -> int:
    return cli.main(["bench", *words])


both = pytest.mark.parametrize("main", [bench, command.main])


@both
def test_command_writes_json(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    words = ("--cases", "smallest-call", "--seconds", "0.001", "--json", str(path))
    assert main(words) == 0
    assert "1x1x4x2" in capsys.readouterr().out
    assert Report.load(path).rows[0].case == CASES[-1]


@both
def test_bad_options_end_with_two(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--isa", "mmx", "--cases", "smallest-call"]) == 2
    assert "mmx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--threads", "0"])


def test_plot_without_matplotlib_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command.main(["--plot", "x.svg"]) == 2
    assert 'pip install "regard[plot]"' in capsys.readouterr().err
