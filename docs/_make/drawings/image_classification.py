"""The gallery's page of the vision transformer that learns digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "A vision transformer that learns digits"
ARGUMENTS = ("--weights", "build/digits")
WORDS = (
    "Two small vision transformers of `regard.nn`, trained from scratch: patches of an image are "
    "tokens with sinusoidal positions in two directions, and a class token says which digit it "
    "is. A fifth of each set is held out. The steps and the rates were chosen with another part "
    "held out (seed 1). "
    "With seeds 1 and 2, which hold out other images, 97.9 and 97.5 % of MNIST's are right."
)
CAPTION = (
    "Ten held-out digits of MNIST, and over them what the class token of the last layer attends "
    "to (bright is much), by `MultiHeadAttention.weights`; mean of the heads."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the attention of the class token over ten digits, of the run's own weights."""
    import image_classification as example
    from _models.vision.course import COURSES, train
    from _models.vision.fitting import kept

    root = Path(example.__file__).resolve().parents[1]
    split = example.load("mnist", 0)
    course = COURSES["mnist"]
    model = kept(root / ARGUMENTS[1], "mnist", course.start(0), lambda: train(split, course, 0))
    return lambda ink: example.plot(model, split)
