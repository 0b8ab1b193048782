"""Pictures of attention weights, with words on the axes. Needs matplotlib, the extra ``plot``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

__all__ = ["heatmap"]

# Families with Chinese, Japanese and Korean glyphs, those that most systems have first; without
# this order a font may be found that has the glyphs but is not meant for running text.
_FAMILIES = (
    "Noto Sans CJK", "Source Han Sans", "PingFang", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "Apple SD Gothic", "WenQuanYi", "SimHei", "Droid Sans Fallback", "IPAGothic",
    "NanumGothic", "Noto Sans", "Noto Serif CJK", "Arial Unicode",
)  # fmt: skip


def heatmap(
    weights: ArrayLike,
    *,
    query_labels: Sequence[str] | None = None,
    key_labels: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    cmap: str | Colormap = "viridis",
    extent: tuple[int, int] | None = None,
) -> Axes:
    """Draw attention weights: a row for each query, a column for each key.

    Parameters
    ----------
    weights : array_like, shape (rows, columns)
        The weights of one head, or their averages over blocks of queries and keys.
    query_labels, key_labels : sequence of str, optional
        Words beside each query and below each key. Characters that the default font lacks, such
        as Chinese ones, are drawn in an installed font that has them.
    title : str, optional
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.
    cmap : str or matplotlib.colors.Colormap, default "viridis"
    extent : (int, int), optional
        The queries and keys that `weights` covers, where it holds averages; they number the axes.
        By default (rows, columns).

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        weights is not a matrix, extent are not two counts, or there are not as many labels as
        queries or keys.

    Warns
    -----
    UserWarning
        No installed font has a character of the labels; it is shown by its number, as U+4F60.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> import regard
    >>> words = ["the", "cat", "sat"]
    >>> weights = regard.reference.weights(np.eye(3), np.eye(3), causal=True)
    >>> figure = Figure()
    >>> ax = regard.plot.heatmap(
    ...     weights, query_labels=words, key_labels=words, ax=figure.subplots())
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['the', 'cat', 'sat']
    >>> figure.savefig("weights.png")  # doctest: +SKIP
    """
    _require_matplotlib()
    matrix = np.asarray(weights)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"heatmap: weights has shape {matrix.shape}.\n  Give (queries, keys), of one batch "
            "element and head."
        )
    queries, keys = matrix.shape if extent is None else _counts(extent)
    for name, labels, count in (("query", query_labels, queries), ("key", key_labels, keys)):
        if labels is not None and len(labels) != count:
            raise ValueError(
                f"heatmap: {len(labels)} {name}_labels for {count} positions.\n"
                "  Give one for each, or None."
            )
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(layout="constrained")[1]

    # Pixel centres at whole positions, the first query on top.
    image = ax.imshow(
        matrix,
        cmap=cmap,
        vmin=0,
        interpolation="nearest",
        aspect="equal" if queries == keys else "auto",
        extent=(-0.5, keys - 0.5, queries - 0.5, -0.5),
    )
    ax.figure.colorbar(image, ax=ax, label="weight")
    families, missing = _families(
        "".join([*(query_labels or ()), *(key_labels or ()), title or ""])
    )
    if missing:
        warnings.warn(
            f"heatmap: no installed font has {''.join(sorted(missing))}. Install one, such as Noto "
            "Sans CJK (Debian's fonts-noto-cjk).",
            stacklevel=2,
        )
    style: dict[str, Any] = {"fontfamily": families} if families else {}
    ax.set_xlabel("key")
    ax.set_ylabel("query")
    if query_labels is not None:
        ax.set_yticks(range(queries), [_spelt(label, missing) for label in query_labels], **style)
    if key_labels is not None:
        words = [_spelt(label, missing) for label in key_labels]
        upright = max(map(len, words)) <= 2  # beyond that neighbours would run into each other
        ax.set_xticks(range(keys), words, rotation=0 if upright else 90, **style)
    if title is not None:
        ax.set_title(_spelt(title, missing), **style)
    return ax


def _counts(extent: Any) -> tuple[int, int]:
    """Return the queries and keys that weights cover, as given."""
    counts = tuple(extent) if isinstance(extent, (tuple, list)) else ()
    if len(counts) == 2 and all(isinstance(n, (int, np.integer)) and n > 0 for n in counts):
        return int(counts[0]), int(counts[1])
    raise ValueError(
        f"heatmap: extent is {extent!r}.\n  Give (queries, keys), the counts that weights covers."
    )


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'regard.plot needs matplotlib.\n  Install it with pip install "regard[plot]".'
        ) from error


def _spelt(label: str, missing: frozenset[str]) -> str:
    """Put numbers in the place of characters that cannot be drawn, and leave no mathematics."""
    spelt = "".join(f"U+{ord(c):04X}" if c in missing else c for c in label)
    return spelt.replace("$", r"\$")


def _families(text: str) -> tuple[list[str], frozenset[str]]:
    """Families to draw a text in, empty for the default, and the characters that none has."""
    from matplotlib import font_manager

    default = font_manager.FontProperties()
    missing = _lacking(font_manager.findfont(default), frozenset(text))
    if not missing:
        return [], missing
    fallback, missing = _fallback(missing)
    return [*default.get_family(), *([fallback] if fallback else [])], missing


@lru_cache
def _fallback(wanted: frozenset[str]) -> tuple[str | None, frozenset[str]]:
    """Find the installed family that lacks fewest of some characters, and those it lacks."""
    from matplotlib import font_manager

    def rank(font: font_manager.FontEntry) -> tuple[bool, int, str]:
        known = [n for n, family in enumerate(_FAMILIES) if font.name.startswith(family)]
        plain = font.style == "normal" and str(font.weight) in ("400", "normal", "regular")
        return not plain, min(known, default=len(_FAMILIES)), font.name

    best: tuple[str | None, frozenset[str]] = None, wanted
    for font in sorted(font_manager.fontManager.ttflist, key=rank):
        if font.name.startswith("Last Resort"):
            continue  # has a box for every character
        lacking = _lacking(font.fname, wanted)
        if len(lacking) < len(best[1]):
            best = font.name, lacking
        if not lacking:
            break
    return best


def _lacking(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Characters that a font has no glyph for."""
    from matplotlib import font_manager

    try:
        glyphs = font_manager.get_font(path).get_charmap()
    except (OSError, RuntimeError):  # listed, but gone or broken
        return characters
    return frozenset(c for c in characters if ord(c) not in glyphs and not c.isspace())
