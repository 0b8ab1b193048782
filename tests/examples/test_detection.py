"""The detector: its scenes, boxes, matching and gradients, and what a short training reaches."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

import detection as example
from _models.detection import scenes as drawing
from _models.detection.baselines import Components, always_the_same
from _models.detection.boxes import ends, giou, giou_vjp, iou
from _models.detection.course import held_out, of_baselines, train
from _models.detection.found import Found, average_precision, overlaps
from _models.detection.matching import DISTANCE, OVERLAP, match, set_loss_vjp
from _models.detection.model import Detector
from _models.detection.scenes import MOST, SIDE, Scenes, draw
from regard import nn


def test_boxes_hold_what_is_drawn_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "NOISE", 0.0)
    monkeypatch.setattr(drawing, "LINES", 0)
    scenes = draw(60, np.random.default_rng(0))
    y, x = np.indices((SIDE, SIDE)) + 0.5
    for image, labels, boxes in zip(scenes.images, scenes.labels, scenes.boxes, strict=True):
        assert (np.diff(labels < 0) >= 0).all()  # objects come first
        low, high = (SIDE * side for side in ends(boxes[labels >= 0]))
        assert low.min() >= 0
        assert high.max() <= SIDE
        ground = np.ones((SIDE, SIDE), bool)
        for (left, top), (right, bottom) in zip(low, high, strict=True):
            ground &= (x < left - 1) | (x > right + 1) | (y < top - 1) | (y > bottom + 1)
        plane = np.column_stack([np.ones(ground.sum()), x[ground], y[ground]])
        fitted = np.linalg.lstsq(plane, image[ground], rcond=None)[0]
        above = image - fitted[0] - fitted[1] * x - fitted[2] * y
        np.testing.assert_allclose(above[ground], 0, atol=1e-5)
        if len(low) == 1:
            rows, columns = np.nonzero(above > 1e-3)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(found, [*low[0], *high[0]], atol=1.5)
    assert set(scenes.labels.ravel()) == {-1, 0, 1, 2}


def random_boxes(rng: np.random.Generator, *shape: int) -> Any:
    """Boxes of 1 to 6, on whole numbers of 0 to 20."""
    low, size = rng.integers(0, 14, (*shape, 2)), rng.integers(1, 7, (*shape, 2))
    return np.concatenate([low + size / 2, size], axis=-1)


def test_overlaps_of_boxes_are_those_of_their_pixels() -> None:
    rng = np.random.default_rng(0)
    boxes, others = random_boxes(rng, 200), random_boxes(rng, 200)
    y, x = np.indices((20, 20)) + 0.5
    for one, other, found, general in zip(
        boxes, others, iou(boxes, others), giou(boxes, others), strict=True
    ):
        masks = [
            (np.abs(x - box[0]) < box[2] / 2) & (np.abs(y - box[1]) < box[3] / 2)
            for box in (one, other)
        ]
        union = masks[0] | masks[1]
        rows, columns = np.nonzero(union)
        around = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        expected = (masks[0] & masks[1]).sum() / union.sum()
        assert found == pytest.approx(expected)
        assert general == pytest.approx(expected - (around - union.sum()) / around)


def test_the_gradient_of_giou_is_central_differences() -> None:
    rng = np.random.default_rng(1)
    boxes, others = (random_boxes(rng, 300) + rng.uniform(0, 0.1, (300, 4)) for _ in "12")
    _, back = giou_vjp(boxes, others)
    gradient = back(np.ones(300))
    for side in range(4):
        move = np.eye(4)[side] * 1e-6
        expected = (giou(boxes + move, others) - giou(boxes - move, others)) / 2e-6
        np.testing.assert_allclose(gradient[:, side], expected, atol=1e-7)


def some_sets(rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """Logits, boxes, and true labels and boxes; the images have 2, 0 and 3 objects."""
    logits = rng.standard_normal((3, 4, 4))
    boxes, truth = rng.uniform(0.1, 0.9, (3, 4, 4)), rng.uniform(0.1, 0.9, (3, 5, 4))
    labels = rng.integers(0, 3, (3, 5))
    labels[np.arange(5) >= np.array([[2], [0], [3]])] = -1
    return logits, boxes, labels, truth


def test_matching_is_the_best_of_all_ways() -> None:
    for seed in range(10):
        logits, boxes, labels, truth = some_sets(np.random.default_rng(seed))
        image, query, object_ = match(logits, boxes, labels, truth)
        assert image.tolist() == [0, 0, 2, 2, 2]
        chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        for number, count in ((0, 2), (2, 3)):
            table = np.array([
                [DISTANCE * np.abs(box - truth[number, n]).sum()
                 - OVERLAP * giou(box, truth[number, n]) - chance[labels[number, n]]
                 for n in range(count)]
                for box, chance in zip(boxes[number], chances[number], strict=True)
            ])  # fmt: skip
            best = min(
                table[list(way), range(count)].sum()
                for way in itertools.permutations(range(4), count)
            )
            here = image == number
            assert table[query[here], object_[here]].sum() == pytest.approx(best)


def test_the_loss_of_a_set_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    logits, boxes, labels, truth = some_sets(rng)
    loss, _ = set_loss_vjp(logits, boxes, labels, truth)
    order = rng.permutation(4)
    other, _ = set_loss_vjp(logits[:, order], boxes[:, order], labels, truth)
    assert other == pytest.approx(loss)
    boxes[2, :3] = truth[2, [1, 2, 0]]
    logits[2] = 50 * np.eye(4)[[*labels[2, [1, 2, 0]], 3]]  # all found, the last one nothing
    right, back = set_loss_vjp(logits[2:], boxes[2:], labels[2:], truth[2:])
    assert right == pytest.approx(0, abs=1e-12)
    assert np.abs(back()[0]).max() < 1e-12


def test_gradients_of_the_whole_model_are_central_differences() -> None:
    model = Detector.random(0, features=16, queries=6, heads=2, dtype=np.float64)
    drawn = draw(4, np.random.default_rng(0))
    scenes = Scenes(drawn.images.astype(float), drawn.labels, drawn.boxes.astype(float))
    rng = np.random.default_rng(1)
    parameters = {n: x + 0.1 * rng.standard_normal(x.shape) for n, x in model.state_dict().items()}
    _, gradients = model.loss_and_gradients(parameters, scenes)
    assert gradients.keys() == parameters.keys()
    for name, x in parameters.items():
        for direction in (gradients[name], rng.standard_normal(x.shape)):
            move = 1e-6 / np.linalg.norm(direction) * direction
            ahead, behind = (
                model.loss_and_gradients({**parameters, name: x + sign * move}, scenes)[0]
                for sign in (1, -1)
            )
            expected = float((gradients[name] * move).sum())
            assert (ahead - behind) / 2 == pytest.approx(expected, rel=1e-4, abs=1e-13), name
    logits, boxes = model(scenes.images)
    (same_logits, same_boxes), _ = model.vjp(scenes.images)
    np.testing.assert_allclose(logits, same_logits, atol=1e-12)
    np.testing.assert_allclose(boxes, same_boxes, atol=1e-12)


def test_maps_are_the_weights_of_the_last_cross_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = Detector.random(0), draw(3, np.random.default_rng(0)).images
    plain, calls = nn.MultiHeadAttention.__call__, []

    def recorded(layer: Any, *arrays: Any, **options: Any) -> Any:
        calls.append((layer, *arrays))
        return plain(layer, *arrays, **options)

    monkeypatch.setattr(nn.MultiHeadAttention, "__call__", recorded)
    model(images)
    layer, x, memory = calls[-1]
    maps = model.cross_attention(images)
    assert maps.shape == (3, 8, 7, 7)
    expected = layer.weights(x, memory).mean(axis=1)
    np.testing.assert_allclose(maps.reshape(expected.shape), expected, atol=1e-6)


def test_measures_of_what_is_known() -> None:
    scenes = draw(40, np.random.default_rng(0))
    image, place = np.nonzero(scenes.labels >= 0)
    label, box = scenes.labels[image, place], scenes.boxes[image, place]
    count = len(image)
    exact = Found(image, label, np.ones(count), box)
    value, truth, matched = overlaps(exact, scenes)
    np.testing.assert_allclose(value, 1, atol=1e-5)
    np.testing.assert_array_equal(truth, matched)
    half = Found(image[::2], label[::2], np.ones(len(image[::2])), box[::2])
    assert overlaps(half, scenes)[0].mean() == pytest.approx(len(image[::2]) / count, abs=1e-5)
    assert (overlaps(half, scenes)[2] == -1).sum() == count // 2
    pytest.importorskip("pycocotools")
    assert average_precision(exact, scenes) == pytest.approx((100, 100))
    other = Found(image, (label + 1) % 3, np.ones(count), box)
    assert max(average_precision(other, scenes)) < 20
    assert 40 < average_precision(half, scenes)[0] < 60


def test_components_find_objects_that_stand_alone() -> None:
    pytest.importorskip("sklearn")
    learned = of_baselines(0, 150)
    model = Components.fit(learned)
    scenes = held_out(0, 150)
    value, label, matched = overlaps(model(scenes.images), scenes)
    alone = np.repeat((scenes.labels >= 0).sum(axis=1) == 1, (scenes.labels >= 0).sum(axis=1))
    assert value[alone].mean() > 0.7
    assert value[~alone].mean() < 0.5
    assert (label == matched)[value > 0.5].mean() > 0.55  # a third is chance


def test_a_short_training_beats_always_the_same_boxes() -> None:
    pytest.importorskip("sklearn")
    scenes = held_out(0, 200)
    model = train(0, 250)
    found = Found.of_queries(*model(scenes.images))
    value, label, matched = overlaps(found, scenes)
    same = overlaps(always_the_same(of_baselines(0), 8, len(scenes)), scenes)[0]
    assert value.mean() > same.mean() + 0.12
    assert (label == matched)[value > 0.5].mean() > 0.4
    assert scenes.labels.shape == (200, MOST)
    assert example.measure(found, scenes, 0.0)["IoU"] == pytest.approx(100 * value.mean())
