"""`regard check`: what it prints, its exit status, and that it notices what is wrong."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regard
from cli_runs import Array, Capture, Patch, patch_attention, status_of
from storage_types import filled, rounded, values


def test_check_counts_problems_of_every_isa(capsys: Capture) -> None:
    before = regard.active_isa()
    assert status_of("check", "--count", "40") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    for isa in regard.available_isas():
        assert [isa, "40", "0"] in [row[:3] for row in rows]
    assert regard.active_isa() == before


def test_check_of_one_isa(isa: str, capsys: Capture) -> None:
    assert status_of("check", "--count", "5", "--isa", isa, "--seed", "9") == 0
    words = capsys.readouterr().out.split()
    assert [name for name in regard.available_isas() if name in words] == [isa]


def test_check_of_an_unknown_isa(capsys: Capture) -> None:
    assert status_of("check", "--isa", "mmx") == 2
    error = capsys.readouterr().err
    assert "'mmx'" in error
    assert ", ".join(regard.available_isas()) in error


def failing(output: Array, lse: Array) -> Any:
    raise RuntimeError("no luck")


FAULTS: dict[str, tuple[Callable[[Array, Array], Any], str]] = {
    "output": (lambda out, lse: (rounded(values(out) * 1.02, out.dtype), lse), "output is off by"),
    "lse": (lambda out, lse: (out, lse + lse.dtype.type(0.01)), "LSE is off by"),
    "nan": (lambda out, lse: (filled(out.shape, np.nan, out.dtype), lse), "output is off by nan"),
    "dtype": (lambda out, lse: (values(out).astype(np.longdouble), lse), "output is"),
    "shape": (lambda out, lse: (out, lse[..., np.newaxis]), "LSE is"),
    "raises": (failing, "raised RuntimeError: no luck"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_fails_if_a_result_is_wrong(fault: str, monkeypatch: Patch, capsys: Capture) -> None:
    change, message = FAULTS[fault]
    patch_attention(monkeypatch, change)
    assert status_of("check", "--count", "20", "--isa", regard.active_isa()) == 1
    text = capsys.readouterr().out
    assert message in text
    assert "Every result" not in text


def test_check_says_how_to_repeat_a_failure(monkeypatch: Patch, capsys: Capture) -> None:
    """A fault of one ISA under one option: it is named with that ISA, and can be repeated."""
    right, faulty = regard.attention, regard.available_isas()[-1]

    def attention(*arrays: Any, **options: Any) -> Any:
        output, lse = right(*arrays, **options)
        wrong = regard.active_isa() == faulty and options.get("causal") == "upper_left"
        return rounded(values(output) + wrong, output.dtype), lse

    with monkeypatch.context() as patch:
        patch.setattr(regard, "attention", attention)
        assert status_of("check", "--count", "60", "--seed", "3") == 1
        text = capsys.readouterr().out
        commands = re.findall(r"Repeat it: python -m regard (.*)", text)
        assert commands
        assert all(f"--isa {faulty} --seed 3" in command for command in commands)
        assert text.count("causal = 'upper_left'") == len(commands)
        assert status_of(*shlex.split(commands[0])) == 1
        again = capsys.readouterr().out
        assert again.partition("WRONG")[2] in text
    assert status_of(*shlex.split(commands[0])) == 0
