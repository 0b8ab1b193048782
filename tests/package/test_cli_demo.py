"""`regard demo`: what it prints and draws, and that it notices what is wrong."""

from __future__ import annotations

import io
import re
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regard
from cli_runs import Array, Capture, Patch, patch_attention, status_of
from pictures import texts, unreadable
from regard.cli import demo

SMALL = (
    demo.Workload("small and causal", (1, 2, 60, 16), causal=True),
    demo.Workload("small", (2, 2, 17, 16), causal=False),
)


@pytest.fixture
def small_demo(monkeypatch: Patch) -> None:
    monkeypatch.setattr(demo, "WORKLOADS", SMALL)
    monkeypatch.setattr(demo, "ROUNDS", 1)


def columns(line: str) -> int:
    """Columns of a terminal that a line takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


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


def test_the_picture_says_what_it_shows(monkeypatch: Patch) -> None:
    """Nothing lies on anything, with Chinese glyphs or the numbers of characters."""
    pytest.importorskip("matplotlib")
    drawn: list[Any] = []
    monkeypatch.setattr(regard.plot, "save", lambda figure, path: drawn.append(figure))
    for words in (
        ("I", "like", "eating", "apples"),
        ("U+6211", "U+559CU+6B22", "U+5403", "U+82F9"),
    ):
        monkeypatch.setattr(demo, "WORDS", words)
        demo.draw_weights("x.png")
        figure = drawn.pop()
        assert unreadable(figure) == []
        four, model = figure.axes[:2]
        assert four.get_title() == "Weights of the four words"
        assert model.get_title().startswith("Random numbers in the shape of GPT-2, causal:\n")
        assert "cells of 16 x 16" in model.get_title()
        assert texts(four.get_xticklabels()) == list(words)


def test_workloads_say_that_they_are_random() -> None:
    assert all(workload.title.startswith("Random numbers") for workload in demo.WORKLOADS)


def test_a_missing_font_is_said_without_a_line_of_code(monkeypatch: Patch, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "WORKLOADS", SMALL)
    monkeypatch.setattr(demo, "ROUNDS", 1)

    def drawn(path: str) -> None:
        warnings.warn("heatmap: no installed font has 我.", stacklevel=1)

    monkeypatch.setattr(demo, "draw_weights", drawn)
    assert status_of("demo", "--plot", "x.png") == 0
    assert capsys.readouterr().err == "regard demo: heatmap: no installed font has 我.\n\n"


def test_the_demo_without_matplotlib_says_what_to_install(
    monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert status_of("demo", "--plot", "x.png") == 2
    said = capsys.readouterr()
    assert 'pip install "regard[plot]"' in said.err
    assert said.out == ""


def test_a_picture_that_cannot_be_written_is_said_first(capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    for name in ("weights.nonsense", "weights.gif", "/nonexist/weights.png"):
        assert status_of("demo", "--plot", name) == 2
        said = capsys.readouterr()
        assert repr(name) in said.err or "'/nonexist'" in said.err
        assert said.out == ""
