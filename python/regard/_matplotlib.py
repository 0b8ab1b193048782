"""matplotlib where it is asked for, how to install it where it is not, and files of its figures."""

from __future__ import annotations

import html
import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

# What figures are saved as, by the end of the file's name.
FORMATS = (".png", ".svg", ".pdf", ".html")

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: {background}; }}
svg {{ display: block; margin: auto; max-width: 100%; height: auto; }}
</style>
{svg}
</html>
"""


def require_matplotlib() -> Any:
    """Import matplotlib's figure module.

    Raises
    ------
    ImportError
        With the command that installs it.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib: install it with  pip install "regard[plot]"'
        ) from error


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file.

    The same figure gives the same bytes, whenever it is written.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or path
        Its end chooses the format: ``.png``, ``.svg``, ``.pdf``, or ``.html``, which is a page of
        its own with the picture inside.

    Raises
    ------
    ValueError
        The path ends otherwise.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> figure = regard.plot.heatmap(np.eye(3))
    >>> regard.plot.save(figure, "weights.html")  # doctest: +SKIP
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(
            f"save: path is {str(path)!r}.\n  Let it end with one of {', '.join(FORMATS)}."
        )
    matplotlib = importlib.import_module("matplotlib")
    # A fixed salt for the names in an SVG, and no date: the same figure gives the same file.
    dated = {".svg": "Date", ".html": "Date", ".pdf": "CreationDate"}.get(suffix)
    options: dict[str, Any] = {"dpi": 150, "metadata": {dated: None} if dated else {}}
    with matplotlib.rc_context({"svg.hashsalt": "regard"}):
        if suffix == ".html":
            Path(path).write_text(_page(figure, options), encoding="utf-8")
        else:
            figure.savefig(path, **options)


def _page(figure: Figure, options: dict[str, Any]) -> str:
    """Write a page of HTML with the figure as inline SVG, whose letters are outlines."""
    colors = importlib.import_module("matplotlib.colors")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", **options)
    svg = drawn.getvalue()
    return _PAGE.format(
        title=html.escape(figure.get_suptitle() or "regard"),
        background=colors.to_hex(figure.get_facecolor()),
        svg=svg[svg.index("<svg") :],  # HTML has no XML declaration
    )
