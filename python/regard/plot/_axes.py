"""What all pictures share: themes, the image of weights, the words and numbers of an axis."""

from __future__ import annotations

import contextlib
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator
from numpy.typing import NDArray

from regard.plot._fonts import Lettering

Array = NDArray[Any]

# Okabe and Ito's colours, told apart by every kind of colour vision; lighter ones on dark.
THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "ground": "#ffffff", "text": "#1f2328", "lines": "#8c959f",
        "cycle": ["#0072b2", "#d55e00", "#009e73"],
    },
    "dark": {
        "ground": "#131416", "text": "#e6e8ea", "lines": "#6e7681",
        "cycle": ["#56b4e9", "#e69f00", "#2cc89a"],
    },
}  # fmt: skip
LONGEST_WORD = 20  # characters; what is longer is cut, or it would take the picture's place
MANY = 1000  # numbers, from which on the few largest do not matter
EM = 0.62  # width of a usual character, in font sizes; those of Chinese have 1


def themed(theme: str | None) -> contextlib.AbstractContextManager[Any]:
    """Draw in a theme; None leaves matplotlib's style as it is."""
    if theme is None:
        return contextlib.nullcontext()
    colours = THEMES[theme]
    ground, text, lines = colours["ground"], colours["text"], colours["lines"]
    return matplotlib.rc_context(
        {
            "figure.facecolor": ground, "axes.facecolor": ground, "savefig.facecolor": "auto",
            "text.color": text, "axes.labelcolor": text, "axes.titlecolor": text,
            "xtick.labelcolor": text, "ytick.labelcolor": text,
            "xtick.color": lines, "ytick.color": lines, "axes.edgecolor": lines,
            "grid.color": lines, "axes.prop_cycle": cycler(color=colours["cycle"]),
            "legend.labelcolor": text, "legend.facecolor": ground, "legend.edgecolor": lines,
        }
    )  # fmt: skip


def colour(number: int) -> str:
    """Look up a colour of the theme; lines would do so when they are drawn, after it was left."""
    return to_hex(f"C{number}")


def new_figure(width: float, height: float, **more: Any) -> Figure:
    """Make a figure of pyplot's, so that ``pyplot.show()`` shows it and notebooks do."""
    from matplotlib import pyplot

    figure: Figure = pyplot.figure(figsize=(width, height), **more)
    return figure


def image(
    ax: Axes, matrix: Array, *, counts: tuple[int, int], cmap: str | Colormap, top: float
) -> AxesImage:
    """Draw a matrix, NaN where something is masked, with pixel centres at whole positions."""
    queries, keys = counts
    cmap = matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap
    # A masked cell has no colour of the scale: the hatched ground is seen through it.
    lines = to_rgba(matplotlib.rcParams["text.color"], 0.35)
    ax.patch.set(hatch="////", edgecolor=lines, linewidth=0)
    picture = ax.imshow(
        np.ma.masked_invalid(matrix),
        cmap=cmap.with_extremes(bad=(0, 0, 0, 0)),
        vmin=0,
        vmax=top,
        interpolation="nearest",
        aspect="equal" if queries == keys else "auto",
        extent=(-0.5, keys - 0.5, queries - 0.5, -0.5),  # the first query on top
    )
    return picture


def largest(matrix: Array) -> float:
    """Top of a scale that shows every number as it is."""
    return float(np.nanmax(matrix, initial=0.0)) or 1.0


def usual(matrix: Array) -> float:
    """Top of a scale for many numbers, of which a few large ones would leave the others dark."""
    present = matrix[np.isfinite(matrix) & (matrix > 0)]
    return float(np.quantile(present, 0.98)) if present.size >= MANY else largest(matrix)


def colour_bar(figure: Any, pictures: Sequence[AxesImage], axes: Any, **where: Any) -> None:
    """Put one scale beside pictures, with a point at its top if some numbers are beyond."""
    matrices: list[Any] = [one.get_array() for one in pictures]
    greatest = max(float(np.ma.filled(matrix.max(), 0.0)) for matrix in matrices)
    beyond = greatest > pictures[0].get_clim()[1] * (1 + 1e-9)
    if not where:
        grid = axes[0].get_gridspec()
        rows, columns = (grid.nrows, grid.ncols) if len(axes) > 1 else (1, 1)
        where = {"ax": axes, "fraction": 0.06 / columns, "aspect": 25 * rows, "pad": 0.03 / columns}
    bar = figure.colorbar(
        pictures[0], label="weight", extend="max" if beyond else "neither", **where
    )
    bar.outline.set_visible(False)


def whole_numbers(axis: Axis) -> None:
    """Write whole numbers along an axis, as many as have room."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def words(axis: Any, labels: Sequence[str], lettering: Lettering) -> None:
    """Write words along an axis, as many as have room, turned where they are long."""
    shown = [lettering.spelt(shortened(label)) for label in labels]
    size = 10.0 if len(labels) <= 16 else 8.0
    angle, room = 0, 1.15 * size
    if axis.axis_name == "x":
        angle, room = _turn(axis, shown, size)
    axis.set_major_locator(Words(len(labels), room))
    axis.set_major_formatter(FuncFormatter(lambda x, _: shown[round(x)]))
    axis.set_tick_params(labelsize=size, labelrotation=angle)
    if lettering.style:
        axis.set_tick_params(labelfontfamily=lettering.style["fontfamily"])


def shortened(label: str) -> str:
    """Cut a word that is too long."""
    return label if len(label) <= LONGEST_WORD else label[: LONGEST_WORD - 1] + "…"


class Words(Locator):
    """Places of words on an axis: all of them, or every n-th where they would not have room.

    Parameters
    ----------
    count : int
        How many words there are, at 0, 1, ...
    room : float
        What one takes along the axis, in points.
    """

    def __init__(self, count: int, room: float) -> None:
        self.count, self.room = count, room

    def __call__(self) -> Any:
        """Places in the part that is shown, which zooming changes."""
        axis: Any = self.axis
        return self.tick_values(*axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Places between two ends."""
        first, last = sorted((vmin, vmax))
        axis: Any = self.axis
        shown = last - first
        fit = max(1, int(_length(axis) / self.room))
        step = max(1, math.ceil(shown / fit - 1e-6))
        start = step * math.ceil(max(first, 0) / step)
        return np.arange(start, min(self.count - 1, math.floor(last)) + 1, step)


def _length(axis: Any) -> float:
    """Length of an axis on paper, in points."""
    box = axis.axes.get_window_extent()
    pixels: float = box.width if axis.axis_name == "x" else box.height
    points: float = pixels * 72 / axis.axes.figure.dpi
    return points


def _turn(axis: Any, shown: Sequence[str], size: float) -> tuple[int, float]:
    """Angle of words below an axis, level or upright, and what one then takes along it."""
    each = 0.85 * _length(axis) / len(shown)  # a colour bar will take its part
    level = size * (0.8 + max(map(_ems, shown), default=0.0))
    if level <= each:
        return 0, level
    return 90, 1.15 * size


def _ems(label: str) -> float:
    """Width of a word in font sizes, roughly."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else EM for c in label)
