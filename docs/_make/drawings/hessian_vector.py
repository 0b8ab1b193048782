"""The gallery's picture of hessian_vector.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

TITLE = "Second derivatives"
ARGUMENTS: tuple[str, ...] = ()
WORDS = (
    "Products of directions with the Hessian of a loss behind attention, by "
    "`regard.attention_jvp` and `regard.attention_vjp`, and the ends of its spectrum."
)
CAPTION = (
    "The whole Hessian of a small problem, six tokens of four components, put together from "
    "such products."
)


def draw(printed: str) -> Callable[[str], Any]:
    """Put the Hessian of a small problem together, column by column."""
    import hessian_vector as example

    rng = np.random.default_rng(0)
    inputs = tuple(rng.standard_normal((3, 1, 6, 4)))
    loss = example.Loss.squared_error(rng.standard_normal((1, 6, 4)))
    size = sum(x.size for x in inputs)
    columns = []
    for n in range(size):
        flat = np.zeros(size)
        flat[n] = 1
        moves = tuple(part.reshape(1, 6, 4) for part in np.split(flat, 3))
        parts = example.hessian_product(loss, inputs, moves)
        columns.append(np.concatenate([np.ravel(part) for part in parts]))
    matrix = np.array(columns).T

    def draw(ink: str) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.6), layout="constrained")
        axes = figure.subplots()
        limit = np.abs(matrix).max() / 3
        image = axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
        figure.colorbar(image, ax=axes, label="second derivative")
        ends = np.arange(0, size + 1, size // 3)
        for end in ends[1:-1]:
            axes.axvline(end - 0.5, color="#555555", linewidth=0.8)
            axes.axhline(end - 0.5, color="#555555", linewidth=0.8)
        middle = (ends[1:] + ends[:-1] - 1) / 2
        axes.set_xticks(middle, ["query", "key", "value"])
        axes.set_yticks(middle, ["query", "key", "value"], rotation=90, va="center")
        axes.tick_params(length=0)
        return figure

    return draw
