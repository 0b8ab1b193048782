"""The gallery's page of the model that draws digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TITLE = "A model that draws digits"
ARGUMENTS = ("--weights", "build/digits")
WORDS = (
    "A causal transformer of `regard.nn` over the 64 pixels of a digit, row by row: it says how "
    "likely each level of the next pixel is. What is drawn is drawn with a `regard.KVCache` for "
    "each layer."
)
CAPTION = (
    "First row: held-out digits. The others: their upper halves, each completed three times by "
    "drawing one pixel after the other."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw completed halves, by the run's own weights."""
    import image_generation as example
    from _models.pixels.model import PixelModel
    from _models.vision.fitting import kept

    root = Path(example.__file__).resolve().parents[1]
    images, held_out = example.load(0)
    model = kept(
        root / ARGUMENTS[1], "pixels", PixelModel.random(0),
        lambda: example.train(images, 0, example.STEPS),
    )  # fmt: skip
    return lambda ink: example.plot(model, held_out, seed=0, temperature=1.0)
