"""``heatmap``: weights as a picture, a row for each query and a column for each key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from regard._matplotlib import require_matplotlib
from regard.plot import _inputs
from regard.plot._inputs import Array, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from regard.plot._fonts import Lettering

# Inches: of a word beside its row, how long a side of a map is at least and at most, and the width
# that many maps share.
WORD, SMALLEST, SMALLEST_OF_MANY, LARGEST, WIDEST = 0.16, 3.4, 2.3, 9.0, 14.0


def heatmap(
    weights: ArrayLike,
    *,
    query_labels: Sequence[str] | None = None,
    key_labels: Sequence[str] | None = None,
    title: str | None = None,
    mask: ArrayLike | None = None,
    ax: Axes | None = None,
    cmap: str | Colormap = "viridis",
    vmax: float | None = None,
    extent: tuple[int, int] | None = None,
    theme: Theme | None = None,
) -> Figure:
    """Draw attention weights: a row for each query, a column for each key.

    Parameters
    ----------
    weights : array_like, shape (rows, columns) or (heads, rows, columns)
        The weights, or their averages over blocks of queries and keys. Several heads are drawn
        beside each other, in the same colours. NaN is drawn as masked.
    query_labels, key_labels : sequence of str, optional
        Words beside each query and below each key; every n-th where not all have room. Characters
        that the default font lacks, such as Chinese ones, are drawn in an installed font that has
        them.
    title : str, optional
    mask : array_like of bool, optional
        Broadcasts to `weights`; False where a query cannot see a key, as in `regard.attention`.
        Such cells are hatched, and told apart from weights of zero.
    ax : matplotlib.axes.Axes, optional
        Where to draw a single head; by default in a new figure.
    cmap : str or matplotlib.colors.Colormap, default "viridis"
    vmax : float, optional
        The weight at the top of the colour scale, which larger ones share; by default the largest.
    extent : (int, int), optional
        The queries and keys that `weights` covers, where it holds averages; they number the axes.
        By default (rows, columns).
    theme : {"light", "dark"}, optional
        Colours of a new figure; by default those that matplotlib is set to.

    Returns
    -------
    matplotlib.figure.Figure
        It is also pyplot's current one, unless `ax` was given.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError, TypeError
        weights has another rank, mask does not broadcast to it or is not bool, there are not as
        many labels as queries or keys, extent are not two counts, vmax is not above 0, theme has
        another name, or ax is given for several heads or with a theme.

    Warns
    -----
    UserWarning
        No installed font has a character of the labels; it is shown by its number, as U+4F60.

    See Also
    --------
    heads : Many heads, as small maps without words.
    summary : A long text.
    save : Write the figure.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> words = ["the", "cat", "sat"]
    >>> seen = np.tri(3, dtype=bool)
    >>> weights = regard.attention_weights(np.eye(3), np.eye(3), mask=seen)
    >>> figure = regard.plot.heatmap(weights, query_labels=words, key_labels=words, mask=seen)
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['the', 'cat', 'sat']
    >>> regard.plot.save(figure, "weights.svg")  # doctest: +SKIP
    """
    require_matplotlib()
    from regard.plot import _axes
    from regard.plot._fonts import Lettering

    ranks = {2: "(queries, keys)", 3: "(heads, queries, keys)"}
    maps = _inputs.weights_of("heatmap", weights, ranks)
    _inputs.hide("heatmap", maps, mask)
    counts = maps.shape[-2:] if extent is None else _inputs.counts_of("heatmap", extent)
    _inputs.check_labels("heatmap", "query_labels", query_labels, counts[0])
    _inputs.check_labels("heatmap", "key_labels", key_labels, counts[1])
    _inputs.check_theme("heatmap", theme)
    _inputs.check_top("heatmap", vmax)
    if ax is not None and (maps.ndim == 3 or theme is not None):
        what = "several heads" if maps.ndim == 3 else "a theme"
        raise ValueError(f"heatmap: ax is given, and {what}.\n  Leave ax out for a new figure.")

    lettering = Lettering("heatmap", [*(query_labels or ()), *(key_labels or ()), title or ""])
    top = _axes.largest(maps) if vmax is None else vmax
    with _axes.themed(theme):
        if ax is not None:
            figure, panels, columns = ax.figure.figure, [ax], 1
        else:
            figure, panels, columns = _new(maps, query_labels, key_labels)
        pictures = [
            _axes.image(panel, matrix, counts=counts, cmap=cmap, top=top)
            for panel, matrix in zip(panels, maps.reshape(-1, *maps.shape[-2:]), strict=True)
        ]
        for number, panel in enumerate(panels):
            _write(panel.yaxis, "query", query_labels, lettering, first=number % columns == 0)
            last = number + columns >= len(panels)
            _write(panel.xaxis, "key", key_labels, lettering, first=last)
            if maps.ndim == 3:
                panel.set_title(f"head {number}", fontsize="medium")
        _axes.colour_bar(ax.figure if ax else figure, pictures, panels)
        if title is not None:
            if maps.ndim == 3:
                figure.suptitle(lettering.spelt(title), **lettering.style)
            else:  # above the first number of the axis, which sticks out
                panels[0].set_title(lettering.spelt(title), pad=10, **lettering.style)
    return figure


def _new(
    maps: Array, query_labels: Sequence[str] | None, key_labels: Sequence[str] | None
) -> tuple[Figure, list[Axes], int]:
    """Make a figure with a panel for each head, of a size that the words ask for; its columns."""
    from regard.plot import _axes

    heads = len(maps) if maps.ndim == 3 else 1
    columns = heads if heads <= 3 else math.ceil(heads**0.5)
    rows = math.ceil(heads / columns)
    smallest = SMALLEST if heads == 1 else SMALLEST_OF_MANY
    largest = max(smallest, min(LARGEST, WIDEST / columns))
    width, height = (
        min(max(smallest, WORD * len(labels or ())), largest)
        for labels in (key_labels, query_labels)
    )
    if maps.shape[-1] == maps.shape[-2]:  # square cells need a square
        width = height = max(width, height)
    figure = _axes.new_figure(columns * width + 1.8, rows * height + 0.9, layout="compressed")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat[heads:]:
        panel.remove()
    return figure, list(grid.flat[:heads]), columns


def _write(
    axis: Any, name: str, labels: Sequence[str] | None, lettering: Lettering, first: bool
) -> None:
    """Put words or numbers along an axis, if it is the first of those that share them."""
    from regard.plot import _axes

    if labels is None:
        _axes.whole_numbers(axis)
    else:
        _axes.words(axis, labels, lettering)
    if first:
        axis.set_label_text(name)
    else:
        axis.set_tick_params(**{"labelleft" if axis.axis_name == "y" else "labelbottom": False})
