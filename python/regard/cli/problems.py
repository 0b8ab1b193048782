"""Random problems for ``regard check``, and how large an error each of them excuses.

A problem is drawn from (seed, index) alone, so a failing one can be drawn again by itself::

    from regard.cli.problems import draw
    problem = draw(seed=0, index=137)
    output, lse = problem.run()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard import reference
from regard._call.options import names
from regard.cli import budget
from regard.cli.options import GRIDS, Options
from regard.cli.storage import KINDS, PAGE_SIZES, into, into_pages, name_of, types_of

Array = NDArray[Any]

# Lengths and widths at which kernels change their ways: register tiles, blocks, key tiles.
EDGES = (1, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320)
HEAD_DIMS = (1, 2, 3, 8, 16, 24, 31, 32, 40, 64, 65, 80, 96, 100, 128, 160)
BATCHES = ((), (1,), (2,), (3,), (2, 2))

# Where numbers lie in memory must not matter: each of these returns an equal array.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "heads inside": lambda x: np.ascontiguousarray(x.swapaxes(-3, -2)).swapaxes(-3, -2),
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :],
    "every other number": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}

# Options that are too many numbers for a line.
_LARGE = names(lambda option: option.kind in ("pairs", "rows", "pages"))


@dataclass(frozen=True)
class Problem:
    """Arguments of one call of :func:`regard.attention`, and how they were made."""

    query: Array
    key: Array
    value: Array
    options: dict[str, Any]
    layout: str = "contiguous"
    poisoned: bool = False

    def run(self) -> tuple[Array, Array]:
        """Output and LSE by the active ISA."""
        arrays = (self.query, self.key, self.value)
        output, lse = regard.attention(*arrays, return_lse=True, **self.options)
        return output, lse

    @cached_property
    def expected(self) -> tuple[Array, Array]:
        """Output and LSE by the oracle."""
        arrays = (self.query, self.key, self.value)
        return reference.attention(*arrays, return_lse=True, **self.options)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Largest error excused in output and LSE; see :mod:`regard.cli.budget`."""
        return budget.bounds(self.query, self.key, self.value, self.options)

    def __str__(self) -> str:
        """Shapes and options, a few short lines."""
        arrays = {name: getattr(self, name) for name in ("query", "key", "value")}
        lines = [f"{name:5}  {x.shape} {name_of(x)}" for name, x in arrays.items()]
        lines[0] += f", {self.layout}"
        lines[0] += ", NaN where no query may look" if self.poisoned else ""
        lines += [f"{name} = {_described(name, x)}" for name, x in self.options.items()]
        return "\n".join(lines)


def _described(name: str, x: Any) -> str:
    """Say what a line has room for: numbers, or what kind of array there is."""
    if name in _LARGE:
        return f"{getattr(x, 'dtype', type(x).__name__)} {x.shape}"
    return " ".join(repr(x).split())


def draw(seed: int, index: int) -> Problem:
    """Draw problem number `index` of a seed.

    Parameters
    ----------
    seed : int
        Which series of problems.
    index : int
        Which problem of the series; it does not depend on the others.

    Returns
    -------
    Problem

    Examples
    --------
    >>> from regard.cli.problems import draw
    >>> problem = draw(seed=0, index=3)
    >>> bool((problem.query == draw(seed=0, index=3).query).all())
    True
    """
    rng = np.random.default_rng([seed, index])

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    def pick(choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    kind = pick(KINDS)
    dtype = np.float64 if kind == "float64" else np.float32
    batch = (0,) if chance(0.05) else pick(BATCHES)
    kv_heads = pick((1, 1, 2, 3))
    heads = kv_heads * pick((1, 1, 2, 4))
    queries = 1 if chance(0.15) else length(rng)
    keys = length(rng)
    grid = pick(GRIDS) if chance(0.04) else None
    if grid is not None:
        queries = keys = grid[0] * grid[1]
    page_size = pick(PAGE_SIZES) if grid is None and len(batch) == 1 and chance(0.4) else None
    if page_size is not None:
        keys = -(-keys // page_size) * page_size
    head_dim = pick(HEAD_DIMS)
    value_dim = head_dim if chance(0.7) else pick(HEAD_DIMS)
    # One batch axis of keys and values may be 1 and so serve every query.
    kv_batch = (*batch[:-1], 1) if batch and chance(0.2) else batch

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    query = normal(*batch, heads, queries, head_dim)
    key = normal(*kv_batch, kv_heads, keys, head_dim)
    value = normal(*kv_batch, kv_heads, keys, value_dim)

    drawn = Options(rng, (*batch, heads, queries, keys), dtype, grid)
    hidden = drawn.hidden
    poisoned = bool(hidden.any()) and chance(0.7)
    if poisoned:
        key[..., hidden, :] = np.nan
        value[..., hidden, :] = pick((np.nan, np.inf))
    options = drawn.drawn
    if page_size is not None:
        blocks = keys // page_size
        table = rng.permutation(batch[0] * blocks + 2)[2:].reshape(batch[0], blocks)
        key, value = (
            into_pages(np.broadcast_to(x, (*batch, *x.shape[-3:])), table, page_size)
            for x in (key, value)
        )
        lengths = options.setdefault("key_lengths", np.full(batch, keys))
        needed = -(-lengths[:, np.newaxis] // page_size)
        options["block_table"] = np.where(np.arange(blocks) < needed, table, -1)
    layout = pick(tuple(LAYOUTS))
    arrays: dict[str, Array] = {"query": query, "key": key, "value": value}
    for (name, array), of in zip(arrays.items(), types_of(rng, kind), strict=True):
        x, scales = into(array, of)
        arrays[name] = LAYOUTS[layout](x)
        if scales is not None:
            options[f"{name}_scales"] = scales
    return Problem(**arrays, options=options, layout=layout, poisoned=poisoned)


def length(rng: np.random.Generator) -> int:
    """Draw a sequence length at, or next to, an edge; now and then 0."""
    return max(0, int(rng.choice(EDGES)) + int(rng.integers(-2, 3)))
