"""Photographs as the model wants them: squares of 224 pixels, with black at the shorter sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models.packages import package_folder

from .model import SIDE

Array = NDArray[Any]


def packaged() -> list[Path]:
    """Return the two photographs of scikit-learn, a temple and a flower.

    They are by danielbuechele and by vultilion on Flickr, under CC BY 2.0, says the README beside
    them, whose line of the flower names the first but links to the second.
    """
    folder = package_folder("sklearn", "pip install scikit-learn") / "datasets" / "images"
    return [folder / "china.jpg", folder / "flower.jpg"]


def load(file: Path) -> tuple[Array, tuple[slice, slice]]:
    """Read a photograph, its longer side brought to 224 pixels.

    Returns
    -------
    square : ndarray of uint8, shape (224, 224, 3)
    inside : tuple of slice
        Its rows and columns that are the photograph.
    """
    package_folder("PIL", "pip install pillow")
    from PIL import Image

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    ratio = SIDE / max(image.size)
    width, height = (max(1, int(side * ratio)) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    inside = slice(top, top + height), slice(left, left + width)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[inside] = pixels
    return square, inside
