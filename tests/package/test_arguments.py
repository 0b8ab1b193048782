"""Arguments of the command lines: what is taken, and what a refusal says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

import regard
from regard import _arguments


def refusal(parse, text):
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        parse(text)
    return str(raised.value)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_whole_numbers(text):
    assert _arguments.whole(1)("7") == 7
    assert refusal(_arguments.whole(1), text) == f"{text!r} is not a whole number of at least 1"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_seconds(text):
    assert _arguments.seconds("1e-3") == 0.001
    assert refusal(_arguments.seconds, text) == f"{text!r} is not a number of seconds above 0"


def test_instruction_sets():
    for name in regard.available_isas():
        assert _arguments.isa_name(name) == name
    for name in ("mmx", ""):
        said = refusal(_arguments.isa_name, name)
        assert said.startswith(f"{name!r} is not one of this build and CPU, which have ")
        assert said.endswith(", ".join(regard.available_isas()))


def test_files_that_can_be_written(tmp_path):
    for name in ("new.json", "old.json"):
        path = tmp_path / name
        if name == "old.json":
            path.write_text("x")
        assert _arguments.output_file(str(path)) == str(path)
    assert not (tmp_path / "new.json").exists()  # it is not made before there is something in it
    assert (tmp_path / "old.json").read_text() == "x"


def test_files_that_cannot_be_written(tmp_path):
    missing = tmp_path / "none" / "a.json"
    assert f"there is no directory {str(missing.parent)!r}" in refusal(
        _arguments.output_file, str(missing)
    )
    for name in ("", str(tmp_path)):
        assert "is not the name of a file" in refusal(_arguments.output_file, name)
    # Whoever runs this may write everywhere but there.
    said = refusal(_arguments.output_file, "/proc/a.json")
    assert said == "'/proc/a.json' cannot be written: No such file or directory"


def test_pictures_of_known_formats(tmp_path):
    pytest.importorskip("matplotlib")
    for end in (".png", ".svg", ".pdf", ".html", ".PNG"):
        assert _arguments.picture_file(f"x{end}") == f"x{end}"
    for name in ("x.gif", "x", "png"):
        said = refusal(_arguments.picture_file, name)
        assert said == f"{name!r} does not end with one of .png, .svg, .pdf, .html"
    assert "no directory" in refusal(_arguments.picture_file, str(tmp_path / "none" / "x.png"))


def test_pictures_need_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert 'pip install "regard[plot]"' in refusal(_arguments.picture_file, "x.png")
    assert not Path("x.png").exists()
