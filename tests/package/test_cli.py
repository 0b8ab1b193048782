"""The command line: its help, its exit status, and `regard info`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import regard
from cli_runs import Capture, Patch, status_of
from regard.cli import demo

# The program


def test_version(capsys: Capture) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"regard {regard.__version__}\n"


def test_help_names_every_command_and_shows_examples(capsys: Capture) -> None:
    assert status_of("--help") == 0
    text = capsys.readouterr().out
    for command in ("info", "demo", "bench", "check"):
        assert re.search(rf"^    {command} ", text, re.MULTILINE)
    assert "regard demo " in text.split("examples:")[1]


@pytest.mark.parametrize(
    ("command", "option"),
    [("info", "--json"), ("demo", "--plot"), ("bench", "--cases"), ("check", "--seed")],
)
def test_help_of_a_command_has_its_options_and_examples(
    command: str, option: str, capsys: Capture
) -> None:
    assert status_of(command, "--help") == 0
    text = capsys.readouterr().out
    assert option in text
    assert f"regard {command}" in text.split("examples:")[1]


def test_without_a_command_there_is_help(capsys: Capture) -> None:
    assert status_of() == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ("nonsense",),
        ("check", "--count", "0"),
        ("check", "--seed", "x"),
        ("info", "more"),
        ("check", "--count", "3", "--problem", "1"),
    ],
)
def test_nonsense_is_refused(argv: tuple[str, ...], capsys: Capture) -> None:
    assert status_of(*argv) == 2
    said = capsys.readouterr()
    assert "usage: regard" in said.err
    assert "_" not in said.err  # no names of our functions
    assert said.out == ""


def test_an_interrupt_is_not_a_traceback(monkeypatch: Patch, capsys: Capture) -> None:
    def interrupted(args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "main", interrupted)
    assert status_of("demo") == 130
    assert "interrupted" in capsys.readouterr().err


def test_python_m_regard_is_the_command() -> None:
    isa = regard.available_isas()[-1]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "regard", "check", "--count", "3"],
        env={**os.environ, "REGARD_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "Every result is within its error bound."


@pytest.mark.parametrize("command", ["module", "script"])
def test_an_unknown_isa_in_the_environment_is_said_in_a_line(command: str, tmp_path: Path) -> None:
    script = tmp_path / "regard"  # as pip writes it
    script.write_text("import sys\nfrom regard.cli import main\nsys.exit(main())\n")
    words = {"module": ["-m", "regard"], "script": [str(script)]}[command]
    result = subprocess.run(
        [sys.executable, *words, "info"],
        env={**os.environ, "REGARD_ISA": "foo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "regard: REGARD_ISA: 'foo' is not an instruction set of this build and CPU. Choose one of: "
        f"{', '.join(regard.available_isas())}.\n"
    )


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "regard", "bench", "--list"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


# regard info


def test_info_tells_what_there_is(capsys: Capture) -> None:
    assert status_of("info") == 0
    text = capsys.readouterr().out
    assert regard.__version__ in text
    for isa in regard.available_isas():
        assert isa in text
    for topic in ("compiler", "openmp", "threads", "cache", "active", "compiled", "supported"):
        assert topic in text.lower()


def test_info_as_json(capsys: Capture) -> None:
    assert status_of("info", "--json") == 0
    assert json.loads(capsys.readouterr().out) == regard.show_config(mode="dicts")
