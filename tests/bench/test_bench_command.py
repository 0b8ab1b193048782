"""The commands: `regard bench`, and `python -m benchmarks.compare` around the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import command
from regard import cli
from regard.bench import runner
from regard.bench.cases import CASES
from regard.bench.report import OWN, Report, Result, Row

Main = Callable[[Sequence[str]], int]
NAMES = tuple(case.name for case in CASES)


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
    assert "smallest-call" in capsys.readouterr().out
    assert Report.load(path).rows[0].case == CASES[-1]


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("measured before the options were looked at")

    monkeypatch.setattr(runner, "measure", measured)


def refusal(main: Main, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of bad words on standard error, with status 2 and nothing else."""
    try:
        status: object = main(words)
    except SystemExit as leave:
        status = leave.code
    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    return said.err


@both
@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--isa mmx", "argument --isa: 'mmx' is not one of this build and CPU, which have "),
        ("--threads 0", "argument --threads: '0' is not a whole number of at least 1"),
        ("--threads two", "argument --threads: 'two' is not a whole number of at least 1"),
        ("--seed -1", "argument --seed: '-1' is not a whole number of at least 0"),
        ("--seconds 0", "argument --seconds: '0' is not a number of seconds above 0"),
        ("--seconds -1", "argument --seconds: '-1' is not a number of seconds above 0"),
        ("--json /nonexist/a.json", "argument --json: there is no directory '/nonexist'"),
        ("--json /tmp", "argument --json: '/tmp' is not the name of a file"),
        ("--cases causal-1k-d6", "Near to it: 'causal-1k-d64'"),
        ("--cases nosuch", "--list shows all"),
    ],
)
def test_nonsense_is_refused_before_measuring(
    main: Main, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(main, words.split(), capsys)
    assert said in error
    assert " _" not in error  # no names of our functions
    assert "set_isa" not in error


@pytest.mark.usefixtures("nothing_is_measured")
def test_pictures_are_refused_before_measuring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'x.gif' does not end with one of .png" in refusal(
        command.main, ["--plot", "x.gif"], capsys
    )
    assert "no directory '/nonexist'" in refusal(
        command.main, ["--plot", "/nonexist/x.png"], capsys
    )
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = refusal(command.main, ["--plot", "x.svg"], capsys)
    assert 'pip install "regard[plot]"' in said


@both
@pytest.mark.usefixtures("nothing_is_measured")
def test_list_shows_every_case(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line[4:].split("  ", 1) for line in lines if line.startswith(("    ", "  * "))]
    assert [(name, title.strip()) for name, title in listed] == [(c.name, c.title) for c in CASES]
    assert {line.split()[1] for line in lines if line.startswith("  * ")} == {
        case.name for case in CASES if case.quick
    }
    assert main(["--list", "--quick", "--cases", "window"]) == 0
    listing = capsys.readouterr().out
    assert "window-128-of-4k" in listing
    assert "causal-1k-d64" not in listing


def test_the_table_fits_a_terminal_and_its_names_are_accepted() -> None:
    """Of all cases, with numbers as wide as they get."""
    result = Result(0.1234, 0.1, 0.2, 9, 2.0, 1.2e-10)
    rows = [
        Row(
            case,
            case.flops / result.seconds / 1e9 / 0.9999,
            {OWN: result},
            replace(result, way="without mask or bias"),
            bandwidth=case.bytes / result.seconds / 1e9 / 0.9999 if case.bound_by_memory else None,
            units={OWN: 0.25} if case.dtype in ("float16", "bfloat16") else {},
        )
        for case in CASES
    ]
    machine = {"cpu": "Intel(R) Xeon(R) Processor (family 6, model 207), at 2 GHz", "cores": 128}
    text = str(Report("", "avx512_bf16", 128, machine, {OWN: "0.1.0"}, {}, {}, rows))
    assert max(map(len, text.splitlines())) <= 80
    names = [line.split()[0] for line in text.splitlines() if line.startswith(NAMES)]
    assert names == list(NAMES)
    for name in names:
        (chosen,) = runner.select(CASES, runner.Options(pattern=name, quick=True))
        assert chosen.name == name
    assert 'ratio to the time "without mask or bias": full-1k-d64, full-4k-d64,' in text
    assert "u: units of the output's precision" in text
