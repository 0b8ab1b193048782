"""The gallery's picture of train_char_lm.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from theme import accent

TITLE = "A model that is trained"
ARGUMENTS: tuple[str, ...] = ("--steps", "240", "--evaluations", "8")
WORDS = (
    "A transformer over characters, trained on the King James Bible: embedding, layers and their "
    "gradients are `regard.nn`'s, the optimiser and its course `regard.nn.training`'s. Attention "
    "is regard's, and all other products are NumPy's."
)
CAPTION = "The loss on text that the training never sees."


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the validation loss, as printed."""
    found = re.findall(r"after +(\d+) steps +validation loss ([\d.]+)", printed)
    steps, loss = np.array(found, float).T

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, loss, "o-", color=accent(ink))
        axes.set_xlabel("steps")
        axes.set_ylabel("validation loss, nats a character")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=ink, alpha=0.15)
        return figure

    return draw
