"""Figures in memory, and what of their text cannot be read."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

import regard

WORDS = re.findall(
    r"\S+",
    "when forty winters shall besiege thy brow and dig deep trenches in thy beauty's field thy "
    "youth's proud livery so gazed on now will be a tattered weed of small worth held then being "
    "asked where all thy beauty lies where all the treasure of thy lusty days to say within thine "
    "own deep sunken eyes were an all-eating shame and thriftless praise",
)


def causal_weights(rng: np.random.Generator, length: int, *lead: int) -> Any:
    query, key = rng.standard_normal((2, *lead, length, 8))
    return regard.attention_weights(query, key, causal=True)


def texts(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def unreadable(figure: Any) -> list[str]:
    """Texts that lie on one another or leave the picture, as it is drawn now."""
    figure.draw_without_rendering()
    written = []
    for ax in figure.axes:
        if not ax.axison:
            continue
        ticks = [
            label
            for axis in (ax.xaxis, ax.yaxis)
            for label in axis.get_ticklabels()
            if in_view(axis, label)
        ]
        written += [*ticks, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        if (legend := ax.get_legend()) is not None:
            written += legend.get_texts()
    if figure._suptitle is not None:
        written.append(figure._suptitle)
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in written
        if text.get_visible() and text.get_text().strip()
    ]
    found = [
        f"{one!r} lies on {other!r}"
        for (one, box), (other, beside) in itertools.combinations(boxes, 2)
        if box.width > 0 and beside.width > 0 and shrunk(box).overlaps(shrunk(beside))
    ]
    whole = figure.bbox
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1
        if not inside:
            found.append(f"{text!r} leaves the picture")
    return found


def in_view(axis: Any, label: Any) -> bool:
    x, y = label.get_position()
    low, high = sorted(axis.get_view_interval())
    return low <= (x if axis.axis_name == "x" else y) <= high


def shrunk(box: Any) -> Any:
    """A box less the pixel that letters do not reach."""
    return box.padded(-1)
