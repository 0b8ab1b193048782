"""The gallery's picture of sentiment: scores of all classifiers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TITLE = "Is a review good or bad?"
ARGUMENTS = (
    "--limit", "3000", "--epochs", "5", "--tuned-epochs", "1",
    "--figures", "examples/figures/sentiment.json",
)  # fmt: skip
CHINESE = Path(__file__).resolve().parents[3] / "examples" / "figures" / "sentiment.chinese.json"


def chinese() -> str:
    """Tell what another run, with --chinese, found."""
    found = json.loads(CHINESE.read_text("utf-8"))
    accuracy, command = found["figures"][0], found["command"].split(" --figures")[0]
    return (
        f"Of Chinese reviews, which `{command}` learns from scratch, the encoder has "
        f"{accuracy['value']} % right, and TF-IDF with logistic regression "
        f"{accuracy['beside']['TF-IDF, logistic']} %."
    )


WORDS = (
    "Snippets of film reviews, the ones that VADER was measured by. An encoder of two layers "
    "learns from nothing but 3,000 of them, with `regard.nn` and `regard.nn.training`; of MiniLM, "
    "which has read much else, the last two layers are trained on. Beside them stand TF-IDF with "
    "logistic regression, and VADER's lexicon and rules. All texts are packed: nothing is padded. "
    + chinese()
)
CAPTION = (
    "Accuracy on texts that no model has seen, and the loss of each epoch: on the texts that are "
    "trained on (with dropout; dashed), and on those that choose when to stop."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Accuracies and losses, as printed."""
    found = re.findall(r"^(\S.*?) +(\d+\.\d) +\d+\.\d +\d+\.\d$", printed, re.MULTILINE)
    names, accuracies = [name for name, _ in found], [float(x) for _, x in found]
    curves = {
        name: np.array(
            re.findall(r"training loss ([\d.]+)  validation loss ([\d.]+)", lines), float
        )
        for name, lines in re.findall(r"^(\w+): .* trained\n((?:  .*\n)+)", printed, re.MULTILINE)
    }

    def picture(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.6, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        bars = left.barh(names[::-1], accuracies[::-1])
        left.bar_label(bars, fmt="%.1f", padding=3)
        left.set_xlim(40, 100)
        left.set_xlabel("accuracy, %")
        for number, (name, losses) in enumerate(curves.items()):
            epochs = np.arange(1, len(losses) + 1)
            colour = f"C{number}"
            right.plot(epochs, losses[:, 0], "o--", color=colour)
            right.plot(epochs, losses[:, 1], "o-", color=colour, label=name)
        right.set_xlabel("epoch")
        right.set_ylabel("loss")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        return figure

    return picture
