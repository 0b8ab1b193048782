"""Make the pictures of the pages, each for light and for dark: python docs/_make/pictures.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from theme import BLUE, GREEN, INK, ORANGE, accent, darkened, save

import regard

DOCS = Path(__file__).resolve().parents[1]
WORDS = ["I", "like", "eating", "apples"]


def four_words(ink: str):
    """Weights of the article's four words, without and with the causal rule."""
    from matplotlib.figure import Figure

    x = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    for axes, causal in zip(figure.subplots(1, 2), (False, True), strict=True):
        weights = regard.reference.weights(x, x, scale=1, causal=causal)
        title = "each word sees all" if not causal else "causal=True"
        seen = np.tri(4, dtype=bool) if causal else None
        regard.plot.heatmap(
            weights, query_labels=WORDS, key_labels=WORDS, title=title, mask=seen, ax=axes
        )
        for (i, j), weight in np.ndenumerate(weights):
            if weight:
                colour = "#222222" if weight > 0.5 * weights.max() else "#ffffff"
                axes.text(j, i, f"{weight:.2f}", ha="center", va="center", color=colour)
    return figure


def masks(ink: str):
    """Draw what each rule lets 48 queries see of 48 keys."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    n = 48
    made = regard.masks
    documents = np.repeat([0, 1, 2], [12, 22, 14])
    rules = {
        "causal=True": made.causal(n, n),
        "window=8": np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 8,
        "window=(12, 0)": np.tril(np.triu(np.ones((n, n), bool), -12)),
        "masks.prefix_lm": made.prefix_lm(n, n, 16),
        "masks.documents": made.documents(documents, block_size=16),
        "documents & causal": made.documents(documents, block_size=16)
        & made.causal(n, n, block_size=16),
        "sliding_window_global": made.sliding_window_global(n, n, 4, [0, 20]),
        "masks.dilated": made.dilated(n, n, 4, 3),
    }
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    for axes, (title, rule) in zip(figure.subplots(2, 4).flat, rules.items(), strict=True):
        seen = rule if isinstance(rule, np.ndarray) else rule.to_dense()
        axes.imshow(
            seen.reshape(n, n),
            cmap=ListedColormap(["#8a8a8a40", accent(ink)]),
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    axes = figure.axes[0]
    axes.set_ylabel("query", fontsize=9)
    axes.set_xlabel("key", fontsize=9)
    return figure


def long_text(ink: str):
    """Draw a summary of all weights of a long text, which nobody holds as a whole."""
    n = 20_000
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((4, 64))[[0, 1, 0, 2, 1, 3, 0, 2]]  # eight chapters
    text = np.repeat(topics, n // 8, axis=0)
    query, key = (
        regard.positions.rope(
            (1.2 * text + 0.8 * rng.standard_normal((n, 64))).astype(np.float32), base=1e6
        )
        for _ in range(2)
    )
    found = regard.attention_summary(query, key, causal=True, pooled=(100, 100), top_k=1)
    return regard.plot.summary(found)


def few_words(ink: str):
    """Draw the heatmap of the guide: four heads, with what is hidden hatched."""
    words = ["the", "cat", "sat", "on", "the", "mat"]
    rng = np.random.default_rng(1)
    meaning = rng.standard_normal((6, 16))
    mixing = rng.standard_normal((2, 4, 16, 16)) / 3
    query, key = meaning @ mixing
    seen = np.tri(6, dtype=bool)
    weights = regard.attention_weights(query, key, mask=seen)
    return regard.plot.heatmap(weights, query_labels=words, key_labels=words, mask=seen)


def all_heads(ink: str):
    """Draw the grid of the guide: twelve heads that look back in twelve ways."""
    n = 2000
    rng = np.random.default_rng(2)
    slopes = 2.0 ** -np.arange(2, 14)
    query, key = rng.standard_normal((2, 12, n, 16), dtype=np.float32)
    found = regard.attention_summary(query, key, causal=True, alibi_slopes=slopes, pooled=(50, 50))
    return regard.plot.heads(found.pooled)


def online(ink: str):
    """Draw the running maximum of the tutorial's row, tile by tile."""
    from matplotlib.figure import Figure

    rng = np.random.default_rng(0)
    scores = rng.standard_normal(64) * 2 + np.linspace(-2, 1, 64)
    edges = np.arange(0, 65, 8)
    peaks = np.array([scores[:e].max() for e in edges[1:]])
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(64), scores, color=accent(ink), alpha=0.7, label="scores of one query")
    axes.step(
        edges, [*peaks, peaks[-1]], where="post", color=ORANGE, linewidth=2, label="maximum so far"
    )
    for edge in edges:
        axes.axvline(edge - 0.5, color=ink, linewidth=0.5, alpha=0.4)
    rises = [n for n in range(1, len(peaks)) if peaks[n] > peaks[n - 1]]
    axes.plot(edges[rises], peaks[rises], "o", color=GREEN, label="what was summed is scaled down")
    axes.set_xlabel("key, in tiles of 8")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(scores.min() - 0.5, scores.max() + 2.4)
    axes.legend(frameon=False, ncols=3, loc="upper center", fontsize=9)
    return figure


def tiles(x: float, size: float) -> str:
    """Draw the mark: tiles of a causal call, those at the edge in another colour."""
    step = size / 3
    return "".join(
        f'<rect x="{x + j * step:.2f}" y="{i * step:.2f}" width="{step - 1.6:.2f}" '
        f'height="{step - 1.6:.2f}" rx="1.4" fill="{ORANGE if i == j else BLUE}"/>'
        for i in range(3)
        for j in range(i + 1)
    )


def wordmark(ink: str) -> str:
    """Draw the mark and the name, in outlines, so that it looks alike everywhere."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    name = TextPath((0, 0), "regard", size=30, prop=FontProperties(weight="bold"))
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    path = "".join(
        letters[code] + ("" if code == 79 else " ".join(f"{v:.2f}" for v in points))
        for points, code in name.iter_segments(curves=True)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 36" width="160" height="36" '
        f'role="img" aria-label="regard"><g transform="translate(0 2)">{tiles(0, 30)}</g>'
        f'<path transform="translate(40 27) scale(1 -1)" d="{path}" fill="{ink}"/></svg>\n'
    )


def logo() -> None:
    """Write the wordmark for both themes, and the mark alone for browsers' tabs."""
    for theme, dark in (("light", False), ("dark", True)):
        (DOCS / "_static" / f"wordmark-{theme}.svg").write_text(wordmark(INK[dark]), "utf-8")
    mark = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 30">{tiles(0.8, 30)}</svg>\n'
    (DOCS / "_static" / "mark.svg").write_text(mark, "utf-8")


PICTURES = {
    "four-words": four_words,
    "masks": masks,
    "long-text": long_text,
    "few-words": few_words,
    "all-heads": all_heads,
    "online": online,
}


def main(names: list[str]) -> None:
    """Make the pictures named, or all."""
    for name, draw in PICTURES.items():
        if not names or name in names:
            save(name, draw)
    if not names or "logo" in names:
        logo()
    if not names or "how-it-works" in names:
        drawing = (DOCS / "how-it-works.svg").read_text("utf-8")
        (DOCS / "how-it-works-dark.svg").write_text(darkened(drawing), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
