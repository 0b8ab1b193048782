"""A reaction and its mapping, drawn: colours for where atoms come from, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from _models.packages import package_folder

from .reactions import Reaction
from .tokens import Indices
from .weights import Array

# Okabe and Ito's, one for each molecule of the reactants; from the sixth on they begin again.
COLOURS = ("#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#E69F00")
NOWHERE = "#999999"
CHANGED = "#D55E00"
GAP = 1.6  # between molecules, in bonds


def lay_out(molecule: Any) -> Array:
    """Find places for the atoms of a molecule, (atoms, 2), its longer side across; a bond is 1."""
    package_folder("networkx", "pip install networkx")
    import networkx

    bonds = molecule.adjacency_matrix().astype(bool)
    if not bonds.any():
        return np.zeros((len(bonds), 2))
    found = networkx.kamada_kawai_layout(networkx.Graph(bonds))
    xy = np.array([found[n] for n in range(len(bonds))])
    xy -= xy.mean(axis=0)
    xy /= np.linalg.norm(xy[:, np.newaxis] - xy, axis=-1)[bonds].mean()
    turned: Array = xy @ np.linalg.svd(xy)[2].T
    return turned


def draw_side(
    axes: Any, molecules: Sequence[Any], labels: list[tuple[str, str]],
    changed: list[tuple[int, int]], left: float, ink: str,
) -> float:  # fmt: skip
    """Draw molecules beside each other, and return where they end on the right."""
    first = 0
    for molecule in molecules:
        if first:
            axes.text(left + GAP / 2, 0, "+", ha="center", va="center", fontsize=14, color=ink)
            left += GAP
        xy = lay_out(molecule)
        xy[:, 0] += left - xy[:, 0].min()
        at = {n: i for i, n in enumerate(molecule)}
        for n, m, bond in molecule.bonds():
            i, j = sorted((at[n], at[m]))
            colour = CHANGED if (first + i, first + j) in changed else ink
            draw_bond(axes, xy[i], xy[j], int(bond), colour)
        own = labels[first : first + len(xy)]
        axes.scatter(*xy.T, s=170, c=[colour for _, colour in own], zorder=2)
        for (x, y), (label, _) in zip(xy, own, strict=True):
            axes.text(x, y, label, ha="center", va="center", fontsize=7, color="black")
        left = xy[:, 0].max()
        first += len(xy)
    return left


def draw_bond(axes: Any, start: Array, end: Array, order: int, colour: str) -> None:
    """Draw one line, or two or three; chython's 4 is an aromatic bond, with one line dotted."""
    along = end - start
    across = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    offsets = {2: (-0.07, 0.07), 3: (-0.12, 0, 0.12), 4: (-0.07, 0.07)}.get(order, (0,))
    for number, offset in enumerate(offsets):
        (x0, y0), (x1, y1) = start + offset * across, end + offset * across
        style = ":" if order == 4 and number else "-"
        axes.plot([x0, x1], [y0, y1], style, color=colour, linewidth=1.4, zorder=1)


def label_atoms(reaction: Reaction, found: Indices) -> list[list[tuple[str, str]]]:
    """Return labels and colours of the atoms of both sides; a number is that of the reactant."""
    before, after = reaction.symbols
    colours = [
        COLOURS[number % len(COLOURS)]
        for number, molecule in enumerate(reaction.read.reactants)
        for _ in molecule
    ]
    return [
        [(f"{s}$_{{{n + 1}}}$", colours[n]) for n, s in enumerate(before)],
        [
            (f"{s}$_{{{n + 1}}}$", colours[n]) if n >= 0 else (s, NOWHERE)
            for n, s in zip(found, after, strict=True)
        ],
    ]


def draw_reaction(axes: Any, reaction: Reaction, found: Indices, ink: str) -> None:
    """Draw both sides; bonds that are broken or made are orange."""
    made, broken = reaction.changes(found)
    before, after = label_atoms(reaction, found)
    end = draw_side(axes, reaction.read.reactants, before, broken, 0.0, ink)
    arrow = {"arrowstyle": "->", "color": ink}
    axes.annotate("", (end + 1.9 * GAP, 0), (end + 0.5 * GAP, 0), arrowprops=arrow)
    end = draw_side(axes, reaction.read.products, after, made, end + 2.4 * GAP, ink)
    axes.set(xlim=(-0.8, end + 0.8), aspect="equal")
    axes.margins(y=0.12)
    axes.axis("off")


def draw_scores(axes: Any, reaction: Reaction, weights: Array, found: Indices) -> None:
    """Draw the scores, a row for each product atom, with rings for the mapping."""
    axes.imshow(np.ma.masked_equal(weights, 0), cmap="viridis", aspect="auto")
    rows = np.flatnonzero(found >= 0)
    axes.plot(found[rows], rows, "o", ms=9, mfc="none", mec=CHANGED, mew=1.8)
    before, after = label_atoms(reaction, found)
    axes.set_xticks(range(len(before)), [label for label, _ in before], fontsize=8)
    axes.set_yticks(range(len(after)), [label for label, _ in after], fontsize=8)
    axes.set(xlabel="atoms of the reactants", ylabel="atoms of the products")


def draw(reaction: Reaction, attention: Array, ink: str = "#222222") -> Any:
    """Draw a reaction above the scores of its mapping; returns matplotlib's figure."""
    from matplotlib.figure import Figure

    found = reaction.mapping(attention)
    figure = Figure(figsize=(9, 7), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 2.4))
    draw_reaction(above, reaction, found, ink)
    draw_scores(below, reaction, reaction.scores(attention), found)
    above.set_title(reaction.name)
    return figure
