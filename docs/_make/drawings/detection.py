"""The gallery's page of the detector that asks by learned queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "Shapes found by object queries"
ARGUMENTS = ("--weights", "build/detection")
WORDS = (
    "DETR's idea in small, of layers of `regard.nn`: an encoder over patches, and a decoder whose "
    "eight learned queries attend to them, each for one object or none. It is trained on drawn "
    "scenes, none of them seen twice. Objects that touch are one connected component, which is "
    "where the simple detector loses; it also sees only what is not covered, while a box is of the "
    "whole object. IoU is the mean of all objects, 0 where nothing is found, of boxes with a score "
    "of at least 0.5; class is the share of right ones where IoU is at least 0.5; AP is COCO's, by "
    "pycocotools."
)
CAPTION = (
    "Four held-out scenes. Left: boxes that are there (dotted), and those found with a score of "
    "at least 0.5: circles blue, squares orange, triangles purple. Beside it, what the queries "
    "that found them attend to in the last layer (bright is much), by "
    "`MultiHeadAttention.weights`; mean of the heads. The first scene shows what goes wrong: a "
    "triangle is found twice, and two circles are missed."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw boxes and attention, of the run's own weights."""
    import detection as example
    from _models.detection.course import held_out, train
    from _models.detection.model import Detector
    from _models.vision.fitting import kept

    root = Path(example.__file__).resolve().parents[1]
    model = kept(
        root / ARGUMENTS[1], "detector", Detector.random(0), lambda: train(0, example.STEPS)
    )
    return lambda ink: example.plot(model, held_out(0))
