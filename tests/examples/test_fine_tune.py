"""Reading one author before another: what it is good for, and what is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fine_tune as example
from _models.char_lm import novels

QUICK = (
    *("--steps", "40", "--tuning", "20", "--batch", "4", "--length", "32", "--layers", "1"),
    *("--evaluations", "4", "--workers", "1", "--sample", "0", "--rate", "0.01"),
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two authors of the same words, one of them with much to say."""
    rng = np.random.default_rng(0)
    words = ["in", "the", "beginning", "was", "a", "word", "and", "it", "sea", "whale", "love"]
    much, little = (" ".join(rng.choice(words, count)) + "!" for count in (20_000, 1_000))
    monkeypatch.setattr(novels, "austen", lambda: much)
    monkeypatch.setattr(novels, "moby_dick", lambda: little)


def perplexities(printed: str) -> dict[str, tuple[float, float]]:
    """The table, by its rows."""
    rows = printed.split("perplexity of a character")[1].splitlines()[1:5]
    cells = [row.split() for row in rows]
    return {" ".join(row[:-2]): (float(row[-2]), float(row[-1])) for row in cells}


def test_what_one_author_wrote_helps_with_another(
    toys: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("safetensors")
    file = tmp_path / "figures.json"
    command = [*QUICK, "--characters", "3000", "--checkpoint", str(tmp_path / "runs")]
    assert example.main([*command, "--figures", str(file)]) == 0
    printed = capsys.readouterr().out
    found = perplexities(printed)
    assert list(found) == ["untrained", "Austen", "Melville after Austen", "Melville alone"]
    letters = len(set("".join((novels.austen(), novels.moby_dick()))))
    assert found["untrained"][1] == pytest.approx(letters, rel=0.15)
    assert found["Austen"][0] < 0.5 * found["untrained"][0]
    assert found["Melville after Austen"][1] < 0.95 * found["Melville alone"][1]
    [of_melville, of_austen] = json.loads(file.read_text("utf-8"))["figures"]
    assert of_melville["value"] == found["Melville after Austen"][1]
    assert of_melville["beside"] == {
        "these alone": found["Melville alone"][1],
        "before": found["Austen"][1],
    }
    assert of_austen["value"] == found["Melville after Austen"][0]
    # All is saved: nothing is trained again.
    assert example.main([*command, "--resume"]) == 0
    assert capsys.readouterr().out == printed


def test_what_is_judged_is_never_seen(toys: None) -> None:
    seen, judged = example.read(2000)
    assert [len(part) for part in (seen["Melville"].training, seen["Melville"].validation)] == [
        1800,
        200,
    ]
    everything, _ = example.read(10**9)
    for author, text in everything.items():
        learnt, held_out = len(text.training), len(text.validation)
        assert len(judged[author].training) == 0
        assert (learnt + held_out) / 19 == pytest.approx(len(judged[author].validation), abs=1)
        assert text.alphabet == judged[author].alphabet


@pytest.fixture(scope="module")
def installed() -> None:
    pytest.importorskip("rdata")
    for package in ("janeaustenr", "tokenizers"):
        if novels.packaged_folder(package) is None:
            pytest.skip(f"the novels are not installed: {novels.INSTALL}")


def test_the_novels(installed: None) -> None:
    read = novels.austen()
    assert len(read) == 4_025_028
    assert read.startswith("EMMA\n\nBy Jane Austen\n")
    assert "It is a truth universally acknowledged" in read
    read = novels.moby_dick()
    assert len(read) == 1_193_383
    assert read.startswith("CHAPTER 1. Loomings.\n\n\nCall me Ishmael.")
    assert read.endswith("found another\norphan.\n")
    assert "Gutenberg" not in read


def test_a_short_run_on_the_novels(installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*QUICK, "--steps", "150", "--tuning", "40", "--batch", "8", "--length", "64"]
    assert example.main([*command, "--characters", "10000"]) == 0
    found = perplexities(capsys.readouterr().out)
    assert found["Austen"][0] < 16
    assert found["Melville after Austen"][1] < 0.95 * found["Melville alone"][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tuning", "0"], "--tuning has to be at least 1"),
        (["--characters", "100"], "--characters has to be at least 20 pieces"),
        (["--resume"], "--resume needs --checkpoint"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        example.main(options)
    assert message in capsys.readouterr().err


def test_without_the_novels_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(novels, "packaged_folder", lambda *_: None)
    with pytest.raises(SystemExit, match="apt-get download r-cran-janeaustenr"):
        example.main([])
