"""One picture of a report: how much of the machine each library uses, case by case."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.compare.report import OWN, Report, Row
from benchmarks.compare.rivals import RIVALS
from regard._matplotlib import require_matplotlib, save
from regard.bench.text import threads_text

# Okabe and Ito's palette, told apart by every kind of colour vision; markers differ as well.
_OWN_COLOUR = {"light": "#0072B2", "dark": "#56B4E9"}
_INK = {"light": "#000000", "dark": "#d8dade"}
_RIM = {"light": "white", "dark": "#131416"}
_RIVAL_STYLES = {
    "torch": ("#D55E00", "o"),
    "onnxruntime": ("#009E73", "s"),
    "openvino": ("#CC79A7", "^"),
    "jax": ("#E69F00", "D"),
    "llamacpp": ("#F0E442", "v"),
    "numpy": (None, "X"),  # that of text
}
# Enough to see the pattern, few enough to read; the tables have the rest.
_SHOWN = (
    "full-1k-d64", "full-4k-d64", "full-2k-d128-gqa4", "full-1k-d80",
    "causal-1k-d64", "causal-4k-d64", "causal-2k-d128-gqa4",
    "bert-8x12x128", "vit-8x12x197", "minilm-32x12x64", "full-1k-d64-float64",
    "mask-random-1k-d64", "bias-1k-d64", "window-256-of-4k",
)  # fmt: skip


def save_plot(report: Report, path: str | Path, theme: str = "light") -> None:
    """Draw per cent of the ceiling for every case, regard as bars and rivals as markers.

    Parameters
    ----------
    report : Report
    path : str or Path
        Where to; the suffix (``.svg``, ``.png``, ``.pdf``, ``.html``) chooses the format.
    theme : {"light", "dark"}
        The pages that it is for; on dark ones the ground is that of the page.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    figures = require_matplotlib()
    matplotlib = importlib.import_module("matplotlib")
    measured = [row for row in report.rows if row.case.group != "call"]
    rows = [row for row in measured if row.case.name in _SHOWN] or measured
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
        _INK[theme],
    )
    ground = "white" if theme == "light" else "none"
    with matplotlib.rc_context({"font.size": 11, "axes.facecolor": ground, **ink}):
        size = (8, 1.5 + 0.3 * len(rows))
        figure = figures.Figure(figsize=size, layout="constrained", facecolor=ground)
        axes = figure.add_subplot()
        _draw(axes, rows, report, theme)
        handles, labels = axes.get_legend_handles_labels()
        first = labels.index(OWN)  # matplotlib puts bars last
        order = [first, *(i for i in range(len(labels)) if i != first)]
        figure.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="outside upper center",
            ncols=len(order), frameon=False, handletextpad=0.3, columnspacing=1.2,
        )  # fmt: skip
        save(figure, path)


def _draw(axes: Any, rows: list[Row], report: Report, theme: str) -> None:
    own_colour = _OWN_COLOUR[theme]
    heights = [-float(index) for index in range(len(rows))]
    own = [row.percent() for row in rows]
    axes.barh(heights, own, height=0.62, color=own_colour, alpha=0.85, label=OWN)
    for height, percent in zip(heights, own, strict=True):
        # Beside the axes, where no marker can lie on it.
        axes.text(102, height, f"{percent:.0f} %", color=own_colour, va="center", weight="bold")
    for name in report.rivals:
        colour, marker = _RIVAL_STYLES[name]
        points = [
            (row.percent(name), height)
            for row, height in zip(rows, heights, strict=True)
            if name in row.results and row.trusted(name)
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(
                x, y, s=46, color=colour or _INK[theme], marker=marker, edgecolors=_RIM[theme],
                linewidths=0.8, zorder=3, label=RIVALS[name].title,
            )  # fmt: skip
    axes.set_yticks(heights, [row.case.title for row in rows])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel(
        f"per cent of the FMA ceiling, {report.isa}, {threads_text(report.threads)} "
        "(right is faster)"
    )
    axes.grid(axis="x", color="#8a8a8a66", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
