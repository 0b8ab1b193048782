"""``summary``: a long text at a glance, from what `attention_summary` keeps of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from regard._matplotlib import require_matplotlib
from regard.plot import _inputs
from regard.plot._inputs import Array, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from regard._summary import AttentionSummary
    from regard.plot._fonts import Lettering

BINS = 240  # of a curve; more would be thinner than what is drawn them with


def summary(
    found: AttentionSummary,
    *,
    key_labels: Sequence[str] | None = None,
    head: int | None = None,
    top: int = 10,
    title: str | None = None,
    cmap: str | Colormap = "viridis",
    theme: Theme | None = None,
) -> Figure:
    """Draw a summary of all weights: where they lie, how spread they are, which keys receive most.

    There are four panels: the map of all weights; the attention that each key receives; the entropy
    of each query, of which ``exp(entropy)`` is the number of keys it as good as looks at alike; and
    the keys that receive most, with the share of queries that look at them more than at any other.

    Parameters
    ----------
    found : AttentionSummary
        By `regard.attention_summary`, of one batch element.
    key_labels : sequence of str, optional
        The words of the keys.
    head : int, optional
        Which head to draw; by default the mean of all, with their range in the curve of entropies.
    top : int, default 10
        How many of the keys that receive most are listed.
    title : str, optional
    cmap : str or matplotlib.colors.Colormap, default "viridis"
    theme : {"light", "dark"}, optional
        Colours of the figure; by default those that matplotlib is set to.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        found has several batch elements or no cells, there is no such head, there are not as many
        labels as keys, top is not above 0, or theme has another name.

    See Also
    --------
    heads : The map of each head.
    regard.attention_summary : What is drawn.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> query, key = np.random.default_rng(0).standard_normal((2, 8, 3000, 64))
    >>> found = regard.attention_summary(query, key, causal=True)
    >>> figure = regard.plot.summary(found, title="a long text")
    >>> regard.plot.save(figure, "summary.html")  # doctest: +SKIP
    """
    require_matplotlib()
    from regard.plot import _axes
    from regard.plot._fonts import Lettering

    if not hasattr(found, "entropy"):
        raise TypeError(
            f"summary: found is a {type(found).__name__}.\n  Give what regard.attention_summary "
            "returns."
        )
    pooled, mass, entropy, first = _fields(found, head)
    queries, keys = entropy.shape[-1], mass.shape[-1]
    _inputs.check_labels("summary", "key_labels", key_labels, keys)
    _inputs.check_theme("summary", theme)
    if top < 1:
        raise ValueError(f"summary: top is {top}.\n  List one key or more.")

    shares = mass.mean(axis=0) / max(mass.mean(axis=0).sum(), np.finfo(float).tiny)
    most = np.argsort(-shares, kind="stable")[:top]
    listed = [key_labels[key] for key in most] if key_labels is not None else []
    lettering = Lettering("summary", [*listed, title or ""])
    with _axes.themed(theme):
        figure = _axes.new_figure(11, 7.5, layout="constrained")
        (ax, received), (spread, ranking) = figure.subplots(2, 2)
        whole = pooled.mean(axis=0)
        picture = _axes.image(ax, whole, counts=(queries, keys), cmap=cmap, top=_axes.usual(whole))
        ax.set(title="where the weights lie", xlabel="key", ylabel="query")
        _axes.colour_bar(figure, [picture], [ax])
        _draw_curve(received, shares, sums=True)
        received.set(title="attention that the keys receive", xlabel="key")
        _draw_curve(spread, entropy, sums=False)
        spread.set(title="entropy of the queries", xlabel="query", ylabel="nats")
        _rank(ranking, most, shares, first, listed, lettering)
        for panel in (ax, received, spread):
            _axes.whole_numbers(panel.xaxis)
        _axes.whole_numbers(ax.yaxis)
        for panel in (received, spread, ranking):
            panel.spines[["top", "right"]].set_visible(False)
        if title is not None:
            figure.suptitle(lettering.spelt(title), **lettering.style)
    return figure


def _fields(found: AttentionSummary, head: int | None) -> tuple[Array, Array, Array, Array]:
    """Return map, mass, entropy and most important key of the heads to draw, an axis for them."""
    entropy = np.asarray(found.entropy, dtype=np.float64)
    lead = entropy.shape[:-1]
    heads = lead[-1] if lead else 1
    if int(np.prod(lead, dtype=int)) != heads:
        raise ValueError(
            f"summary: found has entropy of shape {entropy.shape}, of several batch elements.\n"
            "  Summarise one of them: (heads, length, head_dim)."
        )
    pooled, mass = np.asarray(found.pooled), np.asarray(found.column_sums)
    if 0 in pooled.shape or 0 in mass.shape or 0 in entropy.shape:
        raise ValueError(
            f"summary: found has a map of shape {pooled.shape}.\n  Summarise queries and keys, "
            "with a map of at least (1, 1)."
        )
    if head is not None and not -heads <= head < heads:
        raise ValueError(f"summary: head is {head}, of {heads} heads.\n  Count from 0.")
    chosen = slice(None) if head is None else [head]
    top = np.asarray(found.top_indices)
    first = top[..., 0] if top.shape[-1] else np.full(entropy.shape, -1)
    return (
        pooled.reshape(heads, *pooled.shape[-2:])[chosen],
        mass.reshape(heads, -1)[chosen],
        entropy.reshape(heads, -1)[chosen],
        first.reshape(heads, -1)[chosen],
    )


def _draw_curve(ax: Axes, numbers: Array, sums: bool) -> None:
    """Draw numbers by position: sums as bars, the mean of heads as a line within their range."""
    from regard.plot import _axes

    count = numbers.shape[-1]
    each = math.ceil(count / BINS)
    edges = np.array([*range(0, count, each), count])
    if sums:
        ax.stairs(
            np.add.reduceat(numbers, edges[:-1]), edges - 0.5, fill=True, color=_axes.colour(0)
        )
        ax.set_ylabel(f"share, of {each} keys together" if each > 1 else "share")
    else:
        binned = np.add.reduceat(numbers, edges[:-1], axis=-1) / np.diff(edges)
        middle = (edges[:-1] + edges[1:] - 1) / 2
        if len(binned) > 1:
            low, high = binned.min(axis=0), binned.max(axis=0)
            ax.fill_between(
                middle, low, high, alpha=0.25, color=_axes.colour(0), lw=0, label="all heads"
            )
            ax.plot(middle, binned.mean(axis=0), color=_axes.colour(0), label="mean")
            ax.legend(loc="best", fontsize="small")
        else:
            ax.plot(middle, binned[0], color=_axes.colour(0), marker="o" if count == 1 else None)
    ax.set_xlim(-0.5, count - 0.5)
    ax.set_ylim(bottom=0)


def _rank(
    ax: Axes, most: Array, shares: Array, first: Array, words: Sequence[str], lettering: Lettering
) -> None:
    """List the keys that receive most attention, the first on top."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    from regard.plot import _axes

    places = np.arange(len(most))
    ax.barh(places - 0.2, shares[most], height=0.4, color=_axes.colour(0), label="of the attention")
    known = first >= 0
    if known.any():
        preferred = [float((first == key).sum() / first.size) for key in most]
        label = "of the queries prefer it"
        ax.barh(places + 0.2, preferred, height=0.4, color=_axes.colour(1), label=label)
    names: list[Any] = [f"{lettering.spelt(_axes.shortened(word))}  " for word in words] or [
        ""
    ] * len(most)
    ax.set_yticks(places, [f"{name}{key}" for name, key in zip(names, most, strict=True)])
    if lettering.style:
        ax.yaxis.set_tick_params(labelfontfamily=lettering.style["fontfamily"])
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(4))  # small shares are long numbers
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.set(xlabel="share", ylabel="key")
    ax.set_title("keys that receive most", pad=24)
    # Above the bars, which may be of any length.
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize="small", frameon=False
    )
