"""The gallery's picture of fine_tune.py: the losses of its three trainings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

TITLE = "A language model that changes its author"
ARGUMENTS = ("--figures", "examples/figures/fine_tune.json")
WORDS = (
    "A character model of `regard.nn` reads Jane Austen, and is fine-tuned on 90,000 characters of "
    "Moby-Dick. It then knows Melville better than a model of the same size that learnt from those "
    "characters alone, in more than twice as many steps, and Austen less well than before. "
    "`regard.nn.training` has the rest: a warm-up and a cosine, early stopping (which no run here "
    "came to), and batches in pieces on two threads. With `--checkpoint` and `--resume` an "
    "interrupted run goes on with the same bits."
)
CAPTION = (
    "The loss on held-out text of the author that is read: Austen on the left, Melville on the "
    "right."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Draw the validation losses, as printed."""
    curves = {
        name: np.array(re.findall(r"after +(\d+) steps +validation loss ([\d.]+)", lines), float)
        for name, lines in re.findall(r"^(\w.*): \d+ steps in .*\n((?:  .*\n)+)", printed, re.M)
    }

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for name, curve in curves.items():
            axes = right if name.startswith("Melville") else left
            axes.plot(*curve.T, "o-", ms=4, label=name)
        left.set_ylabel("validation loss, nats a character")
        for axes in (left, right):
            axes.set_xlabel("steps")
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color=ink, alpha=0.15)
        return figure

    return draw
