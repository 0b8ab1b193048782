"""``heads``: many heads at a glance, a small map each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from regard._matplotlib import require_matplotlib
from regard.plot import _inputs
from regard.plot._inputs import Theme

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Inches. Nothing in the picture needs a layout engine, which would take seconds for 144 maps.
WIDEST, LARGEST, SMALLEST, GAP, MARGIN, TITLE, BAR = 12.0, 1.9, 0.7, 0.1, 0.5, 0.4, 1.1


def heads(
    weights: ArrayLike,
    *,
    title: str | None = None,
    mask: ArrayLike | None = None,
    cmap: str | Colormap = "viridis",
    vmax: float | None = None,
    theme: Theme | None = None,
) -> Figure:
    """Draw a grid of small maps, one for each head.

    Parameters
    ----------
    weights : array_like, shape (heads, rows, columns) or (layers, heads, rows, columns)
        The weights of each head, or their averages over blocks, such as the ``pooled`` of
        `attention_summary`. Layers are the rows of the grid.
    title : str, optional
    mask : array_like of bool, optional
        Broadcasts to `weights`; False where a query cannot see a key. Such cells are hatched.
    cmap : str or matplotlib.colors.Colormap, default "viridis"
    vmax : float, optional
        The weight at the top of the colour scale, which all maps share, and larger weights too. By
        default the largest; where there are thousands, 98 of 100 are below it.
    theme : {"light", "dark"}, optional
        Colours of the figure; by default those that matplotlib is set to.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError, TypeError
        weights has another rank, mask does not broadcast to it or is not bool, vmax is not above 0,
        or theme has another name.

    See Also
    --------
    heatmap : Few heads, with words on the axes.
    regard.attention_summary : Maps of long texts, without all their weights.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> query, key = np.random.default_rng(0).standard_normal((2, 12, 500, 64))
    >>> summary = regard.attention_summary(query, key, causal=True, pooled=(50, 50))
    >>> figure = regard.plot.heads(summary.pooled)
    >>> len(figure.axes) - 1  # and the colour scale
    12
    """
    require_matplotlib()
    from regard.plot import _axes
    from regard.plot._fonts import Lettering

    ranks = {3: "(heads, queries, keys)", 4: "(layers, heads, queries, keys)"}
    maps = _inputs.weights_of("heads", weights, ranks)
    _inputs.hide("heads", maps, mask)
    _inputs.check_theme("heads", theme)
    _inputs.check_top("heads", vmax)
    lettering = Lettering("heads", [title or ""])

    layered = maps.ndim == 4
    flat = maps.reshape(-1, *maps.shape[-2:])
    columns = maps.shape[1] if layered else _columns(len(flat))
    rows = math.ceil(len(flat) / columns)
    gap = GAP if layered else GAP + 0.2  # for the head's number
    side = min(max((WIDEST - columns * gap) / columns, SMALLEST), LARGEST)
    inner = columns * side + (columns - 1) * gap, rows * side + (rows - 1) * gap
    above = 0.35 + (TITLE if title else 0)
    width, height = MARGIN + inner[0] + BAR, MARGIN / 2 + inner[1] + above
    top = _axes.usual(maps) if vmax is None else vmax
    with _axes.themed(theme):
        figure = _axes.new_figure(width, height)
        pictures = []
        for number, matrix in enumerate(flat):
            row, column = divmod(number, columns)
            left = MARGIN + column * (side + gap)
            low = MARGIN / 2 + inner[1] - side - row * (side + gap)
            ax = figure.add_axes((left / width, low / height, side / width, side / height))
            pictures.append(_axes.image(ax, matrix, counts=matrix.shape, cmap=cmap, top=top))
            ax.set_aspect("auto")
            ax.set(xticks=[], yticks=[])
            if not layered:
                ax.set_title(f"head {number}", fontsize="small", pad=3)
            if layered and row == 0:
                ax.set_title(f"head {column}" if column == 0 else str(column), fontsize="small")
            if layered and column == 0:
                ax.set_ylabel(f"layer {row}" if row == 0 else str(row), fontsize="small")
        tall = min(inner[1], 3.0)
        box = (MARGIN + inner[0] + 0.15, MARGIN / 2 + (inner[1] - tall), 0.13, tall)
        bar = figure.add_axes(tuple(np.divide(box, (width, height) * 2)))
        _axes.colour_bar(figure, pictures, None, cax=bar)
        if title is not None:
            figure.suptitle(
                lettering.spelt(title), y=1 - 0.12 / height, va="top", **lettering.style
            )
    return figure


def _columns(heads: int) -> int:
    """Columns of a grid that is wider than high, and as full as it can be."""
    if heads <= 4:
        return heads
    ideal = math.ceil((1.5 * heads) ** 0.5)
    near = range(max(3, ideal - 2), ideal + 3)
    return min(near, key=lambda columns: (-heads % columns, abs(columns - ideal)))
