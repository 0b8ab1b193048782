"""The pixel model: gradients, caches, what a pixel follows from, and what a training reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import image_generation as example
from _models.pixels.baselines import by_neighbours, by_place
from _models.pixels.model import PixelModel


def moved(model: PixelModel) -> dict[str, Any]:
    """Parameters near those of a model, none of them 0."""
    rng = np.random.default_rng(1)
    return {n: x + 0.1 * rng.standard_normal(x.shape) for n, x in model.state_dict().items()}


def test_gradients_of_the_whole_model_are_central_differences() -> None:
    model = PixelModel.random(0, side=3, levels=4, features=16, layers=2, dtype=np.float64)
    images = np.random.default_rng(0).integers(0, 4, (5, 9))
    parameters = moved(model)
    _, gradients = model.loss_and_gradients(parameters, images)
    assert gradients.keys() == parameters.keys()
    rng = np.random.default_rng(2)
    for name, x in parameters.items():
        for direction in (gradients[name], rng.standard_normal(x.shape)):
            move = 1e-5 / np.linalg.norm(direction) * direction
            ahead, behind = (
                model.loss_and_gradients({**parameters, name: x + sign * move}, images)[0]
                for sign in (1, -1)
            )
            expected = float((gradients[name] * move).sum())
            assert (ahead - behind) / 2 == pytest.approx(expected, rel=1e-5, abs=1e-14), name


def test_a_pixel_follows_from_those_before_it_alone() -> None:
    model = PixelModel.random(0, side=4, levels=5)
    model.load_state_dict(moved(model))
    images = np.random.default_rng(0).integers(0, 5, (3, 16))
    other = images.copy()
    other[:, 7:] = (other[:, 7:] + 1) % 5
    np.testing.assert_array_equal(model(images)[:, :8], model(other)[:, :8])
    assert np.abs(model(images)[:, 8] - model(other)[:, 8]).max() > 1e-3


def test_what_is_drawn_with_caches_is_what_the_whole_model_says() -> None:
    model = PixelModel.random(0, side=4, levels=5)
    model.load_state_dict(moved(model))
    begun = np.random.default_rng(0).integers(0, 5, (3, 6))
    images = model.complete(begun, np.random.default_rng(3), temperature=1e-9)  # the likeliest
    np.testing.assert_array_equal(images[:, :6], begun)
    np.testing.assert_array_equal(images[:, 6:], model(images).argmax(axis=-1)[:, 6:])


def test_baselines_of_images_that_are_easy() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, (4000, 3, 1))
    images = np.repeat(first, 3, axis=2).reshape(4000, 9)  # rows of one level, any of four
    assert by_place(images[:3000], images[3000:], 4) == pytest.approx(2, abs=0.02)
    assert by_neighbours(images[:3000], images[3000:], 4) == pytest.approx(2 / 3, abs=0.05)


def test_a_short_training_beats_the_level_of_the_place() -> None:
    pytest.importorskip("sklearn")
    images, held_out = example.load(0)
    model = example.train(images, 0, steps=120, batch=8)
    found = example.bits(model, held_out[:100])
    assert found < by_place(images, held_out[:100], example.LEVELS)
    assert found > 1.5  # so few steps do not teach more
