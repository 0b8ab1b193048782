"""The command line: what it prints, its exit status, and that it notices what is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import regard
from regard import cli
from regard.cli import demo
from storage import filled, rounded, values

Array = NDArray[Any]
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

SMALL = (
    demo.Workload("small and causal", (1, 2, 60, 16), causal=True),
    demo.Workload("small", (2, 2, 17, 16), causal=False),
)


@pytest.fixture
def small_demo(monkeypatch: Patch) -> None:
    monkeypatch.setattr(demo, "WORKLOADS", SMALL)
    monkeypatch.setattr(demo, "ROUNDS", 1)


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


def columns(line: str) -> int:
    """Columns of a terminal that a line takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


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


@pytest.mark.parametrize("argv", [("nonsense",), ("check", "--count", "-1"), ("info", "more")])
def test_nonsense_is_refused(argv: tuple[str, ...], capsys: Capture) -> None:
    assert status_of(*argv) == 2
    assert "usage: regard" in capsys.readouterr().err


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


# regard demo

# By hand: scores are 0, 1 and 2, so weights are 1, e and e^2 over their sum. The rows of 我 and
# 喜欢 sum to 2e + 2, that of 吃 to e^2 + 2e + 1 = (e + 1)^2, and that of 苹果 to 4.
BY_HAND = {
    "scores": [[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 2, 0], [0, 0, 0, 0]],
    "weights": [
        [0.366, 0.134, 0.366, 0.134],
        [0.134, 0.366, 0.366, 0.134],
        [0.197, 0.197, 0.534, 0.072],
        [0.250, 0.250, 0.250, 0.250],
    ],
    "output": [[0.731, 0.500], [0.500, 0.731], [0.731, 0.731], [0.500, 0.500]],
}


@pytest.mark.usefixtures("small_demo")
def test_demo_prints_the_numbers_of_a_hand(isa: str, capsys: Capture) -> None:
    assert status_of("demo") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"regard {regard.__version__} on {isa}"
    for name, expected in BY_HAND.items():
        title = next(i for i, line in enumerate(lines) if line.startswith(f"   {name} "))
        rows = [line.split() for line in lines[title + 2 : title + 6]]
        assert [row[0] for row in rows] == list(demo.WORDS)
        assert [[float(number) for number in row[1:]] for row in rows] == expected
        # Chinese characters take two columns: the numbers must end below their heading.
        assert len({columns(line) for line in lines[title + 1 : title + 6]}) == 1


@pytest.mark.usefixtures("small_demo")
def test_demo_says_that_the_article_is_wrong_and_fits_a_terminal(capsys: Capture) -> None:
    assert status_of("demo") == 0
    text = capsys.readouterr().out
    assert "article" in text
    assert "wrong scores" in text
    assert max(columns(line) for line in text.splitlines()) <= 80


@pytest.mark.usefixtures("small_demo")
def test_demo_times_and_checks_each_workload(capsys: Capture) -> None:
    assert status_of("demo") == 0
    text = capsys.readouterr().out
    for name in ("regard", "NumPy"):
        row = rf"^   {name} +\d+\.\d\d ms +\d+\.\d x +\d\.\de-\d\d$"
        assert len(re.findall(row, text, re.MULTILINE)) == len(SMALL)
    assert text.count("ok: off the float64 oracle by") == 1 + len(SMALL)


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("change", [1e-3, np.nan])
def test_demo_fails_if_a_result_is_wrong(
    dtype: Any, change: float, monkeypatch: Patch, capsys: Capture
) -> None:
    """Float64 are the four words, float32 the workloads: each must be noticed."""
    patch_attention(
        monkeypatch, lambda out, lse: (out + dtype(change) if out.dtype == dtype else out, lse)
    )
    assert status_of("demo") == 1
    text = capsys.readouterr().out
    assert text.count("   WRONG: off") == (1 if dtype == np.float64 else len(SMALL))
    assert text.splitlines()[-1].startswith("WRONG RESULTS")


@pytest.mark.usefixtures("small_demo")
def test_demo_survives_a_terminal_without_chinese(monkeypatch: Patch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert status_of("demo") == 0
    sys.stdout.flush()
    assert b"1. Four words: ? ?? ? ??" in written.getvalue()


def test_the_demo_compares_with_a_right_numpy() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.standard_normal((3, 2, 3, 9, 4))
    for causal in (False, True):
        expected = regard.reference.attention(query, key[..., :7, :], value[..., :7, :])
        got = demo.plain_numpy(query, key[..., :7, :], value[..., :7, :], False)
        np.testing.assert_allclose(got, expected, rtol=1e-13)
        expected = regard.reference.attention(query, key, value, causal=causal)
        np.testing.assert_allclose(demo.plain_numpy(query, key, value, causal), expected, 1e-13)


@pytest.mark.usefixtures("small_demo")
@pytest.mark.filterwarnings("ignore:heatmap. no installed font")
def test_the_demo_draws_its_weights(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pytest.importorskip("matplotlib")
    drawn: list[Array] = []
    heatmap = regard.plot.heatmap

    def kept(weights: Array, **options: Any) -> Any:
        drawn.append(weights)
        return heatmap(weights, **options)

    monkeypatch.setattr(regard.plot, "heatmap", kept)
    path = tmp_path / "weights.png"
    assert status_of("demo", "--plot", str(path)) == 0
    assert f"drawn: {path}" in capsys.readouterr().out
    assert path.read_bytes().startswith(b"\x89PNG")
    words, pooled = drawn
    x = np.array(demo.VECTORS)
    np.testing.assert_allclose(words, regard.reference.weights(x, x, scale=1), rtol=1e-14)
    query, key, _ = demo.drawn(2, SMALL[0])
    expected = regard.reference.summary(query, key, causal=True, pooled=pooled.shape).pooled
    np.testing.assert_allclose(pooled, expected[0, 0], atol=1e-6)


def test_the_demo_without_matplotlib_says_what_to_install(
    monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert status_of("demo", "--plot", "x.png") == 2
    said = capsys.readouterr()
    assert 'pip install "regard[plot]"' in said.err
    assert said.out == ""


@pytest.mark.filterwarnings("ignore:heatmap. no installed font")
def test_a_picture_that_cannot_be_written_is_said_first(capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    assert status_of("demo", "--plot", "weights.nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


# regard check


def test_check_counts_problems_of_every_isa(capsys: Capture) -> None:
    before = regard.active_isa()
    assert status_of("check", "--count", "40") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
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
