"""Random options for ``regard check``: every kind of mask and score, alone and mixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard

Array = NDArray[Any]

# Pixels of the windows that a grid of position biases belongs to.
GRIDS = ((4, 6), (7, 7), (8, 12))


class Options:
    """The options of one problem, drawn one kind after the other.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (..., Hq, Sq, Sk).
    dtype : type
        That of query, key and value.
    grid : (int, int) or None
        Height and width, if queries and keys are the pixels of a window.

    Attributes
    ----------
    drawn : dict
        As for :func:`regard.attention`.
    hidden : ndarray of bool, shape (Sk,)
        Keys that no query of any element may see.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        dtype: Any,
        grid: tuple[int, int] | None = None,
    ) -> None:
        self.rng, self.shape, self.dtype = rng, shape, dtype
        self.batch, self.heads, self.queries, self.keys = shape[:-3], *shape[-3:]
        self.drawn: dict[str, Any] = {}
        self.hidden = np.zeros(self.keys, dtype=bool)
        self._draw_masks()
        if grid is None:
            self._draw_lengths()
        self._draw_mask()
        self._draw_scores()
        self._draw_added(grid)
        if self.chance(0.2):
            self.drawn["dropout"] = self.pick((0.1, 0.5))
            self.drawn["seed"] = int(rng.integers(2**64 - 1, dtype=np.uint64))
        if self.chance(0.3):
            self.drawn["num_threads"] = self.pick((1, 2))

    def chance(self, probability: float) -> bool:
        """Be True that often."""
        return bool(self.rng.random() < probability)

    def pick(self, choices: Any) -> Any:
        """Choose one."""
        return choices[self.rng.integers(len(choices))]

    def _of_heads(self, choices: tuple[float, ...]) -> Any:
        """One number for all heads, or one for each."""
        if self.chance(0.5):
            return self.pick(choices)
        return self.rng.choice(choices, self.heads)

    def _draw_masks(self) -> None:
        if self.chance(0.4):
            self.drawn["causal"] = self.pick((True, "upper_left"))
        if self.chance(0.3):
            of_heads = self.rng.choice([-1, 0, 7, 64], self.heads)
            each = [(None, -64, -1, 0, 9)[n] for n in self.rng.integers(5, size=self.heads)]
            self.drawn["window"] = self.pick((
                0, 7, (None, 3), (40, None), (64, 0), (3, 100), of_heads, (of_heads, 5),
                (None, -1), (-1, None), (90, -20), (each, 70), (None, each),
            ))  # fmt: skip

    def _draw_lengths(self) -> None:
        if self.chance(0.3):
            lengths = self.rng.integers(self.keys + 1, size=self.batch)
            self.drawn["key_lengths"] = lengths
            self.hidden |= np.arange(self.keys) >= lengths.max(initial=0)
        if self.chance(0.2):
            self.drawn["query_lengths"] = self.rng.integers(self.queries + 1, size=self.batch)
        if self.chance(0.2):
            self.drawn["query_offset"] = self.rng.integers(-9, self.keys + 9, size=self.batch)

    def _draw_mask(self) -> None:
        if not self.chance(0.35):
            return
        seen = self.rng.random(broadcast(self.rng, self.shape)) < self.pick((0.1, 0.5, 0.9))
        if seen.shape[-1] == self.keys and self.chance(0.5):
            never = self.rng.random(self.keys) < 0.2
            seen = seen & ~never
            self.hidden |= never
        form = self.pick(("dense", "dense", "packed", "block"))
        if form == "dense":
            self.drawn["mask"] = seen
        elif form == "packed":
            whole = np.broadcast_to(seen, (*seen.shape[:-1], self.keys))
            self.drawn["mask"] = regard.PackedMask.from_dense(whole)
        else:
            whole = np.broadcast_to(seen, (*seen.shape[:-2], self.queries, self.keys)).copy()
            # A stretch of keys that a stretch of queries does not see: tiles that are empty.
            whole[..., self.queries // 3 :, self.keys // 4 : self.keys // 4 + 130] = False
            size = self.pick((16, 64, 128))
            self.drawn["mask"] = regard.BlockMask.from_dense(whole, block_size=size)

    def _draw_scores(self) -> None:
        if self.chance(0.15):
            self.drawn["similarity"] = "cosine"
        if self.chance(0.3):
            self.drawn["scale"] = self._of_heads((0.0, 1.0, -0.5, 3.0))
        if self.chance(0.2):
            shape = broadcast(self.rng, self.shape)[:-1]
            self.drawn["query_scale"] = self.rng.choice([0.0, 1.0, -0.5, 2.0], shape)
        if self.chance(0.2):
            self.drawn["softcap"] = self._of_heads((0.0, 0.5, 4.0, 30.0))
        if self.chance(0.2):
            lead = self.pick(((), self.batch))
            self.drawn["alibi_slopes"] = self.rng.choice([0.5, 0.02, 0, -0.01], (*lead, self.heads))
        if self.chance(0.15):
            self.drawn["score_mod"] = _bent
            self.drawn["score_mod_gradient"] = _straightened
        if self.chance(0.2):
            self.drawn["sinks"] = self.rng.choice([-np.inf, -2.0, 0.0, 3.0], self.heads)

    def _draw_added(self, grid: tuple[int, int] | None) -> None:
        columns = self.pick((1, self.heads))
        if grid is not None:
            height, width = grid
            steps = (2 * height - 1) * (2 * width - 1)
            table = self.rng.standard_normal((steps, columns))
            self.drawn["position_bias"] = regard.bias.Grid(table, height, width)
        elif self.chance(0.2):
            rows = self.pick((1, 21, 32))
            table = self.rng.standard_normal((rows, columns))
            kind = regard.bias.T5 if rows == 32 else regard.bias.Relative
            self.drawn["position_bias"] = kind(table)
        if self.chance(0.3):
            bias = self.rng.standard_normal(broadcast(self.rng, self.shape))
            bias[self.rng.random(bias.shape) < self.pick((0, 0.1))] = -np.inf
            self.drawn["bias"] = bias.astype(self.dtype)


def _bent(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
    """Depend on all that a function of scores is told, and be nowhere steeper than 1."""
    return np.tanh(s) / (1 + h) + 0.01 * (j - i) + 0.1 * b


def _straightened(d: Any, s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
    """Go the way back."""
    return d * (1 - np.tanh(s) ** 2) / (1 + h)


def broadcast(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to `shape`: axes made 1, leading ones left out."""
    shape = tuple(1 if rng.random() < 0.3 else n for n in shape)
    return shape[rng.integers(len(shape) - 1) :]
