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
        """Largest error excused in output and LSE.

        A score is a sum of head_dim rounded products: it is off by about eps times the sum of
        their magnitudes. softmax makes that a relative error of the weights, which sum to one.
        The 6 is for exp2 and the sums over keys, the 2 for luck.
        """
        eps = float(np.finfo(self.query.dtype).eps)
        scale = self.options.get("scale")
        magnitudes = reference.scores(
            magnitude(self.query), magnitude(self.key), scale=None if scale is None else abs(scale)
        )
        largest = float(magnitudes.max(initial=0))
        if "bias" in self.options:
            largest += float(magnitude(self.options["bias"]).max(initial=0))
        error = eps * (6 + 2 * largest)
        return error * float(magnitude(self.value).max(initial=0)), error

    def __str__(self) -> str:
        """Shapes and options, a few short lines."""
        lines = [f"{name:5}  {getattr(self, name).shape}" for name in ("query", "key", "value")]
        lines[0] += f" {self.query.dtype}, {self.layout}"
        lines[0] += ", NaN where no query may look" if self.poisoned else ""
        for name, value in self.options.items():
            large = isinstance(value, np.ndarray) and name != "key_lengths"
            lines.append(f"{name} = {f'{value.dtype} {value.shape}' if large else repr(value)}")
        return "\n".join(lines)


def magnitude(x: Array) -> Array:
    """Absolute values, and 0 for what is not finite."""
    finite: Array = np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)
    return finite


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

    dtype = pick((np.float32, np.float64))
    batch = (0,) if chance(0.05) else pick(BATCHES)
    kv_heads = pick((1, 1, 2, 3))
    heads = kv_heads * pick((1, 1, 2, 4))
    queries = 1 if chance(0.15) else length(rng)
    keys = length(rng)
    head_dim = pick(HEAD_DIMS)
    value_dim = head_dim if chance(0.7) else pick(HEAD_DIMS)
    # One batch axis of keys and values may be 1 and so serve every query.
    kv_batch = (*batch[:-1], 1) if batch and chance(0.2) else batch

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    query = normal(*batch, heads, queries, head_dim)
    key = normal(*kv_batch, kv_heads, keys, head_dim)
    value = normal(*kv_batch, kv_heads, keys, value_dim)

    options: dict[str, Any] = {}
    hidden = np.zeros(keys, dtype=bool)  # keys that no query of any element may see
    if chance(0.4):
        options["causal"] = pick((True, "upper_left"))
    if chance(0.3):
        options["window"] = pick((0, 7, (None, 3), (40, None), (64, 0), (3, 100)))
    if chance(0.3):
        lengths = rng.integers(keys + 1, size=batch)
        options["key_lengths"] = lengths
        hidden |= np.arange(keys) >= lengths.max(initial=0)
    if chance(0.3):
        mask = rng.random(broadcast(rng, (*batch, heads, queries, keys))) < pick((0.1, 0.5, 0.9))
        if mask.shape[-1] == keys and chance(0.5):
            never = rng.random(keys) < 0.2
            mask = mask & ~never
            hidden |= never
        options["mask"] = mask
    if chance(0.3):
        bias = normal(*broadcast(rng, (*batch, heads, queries, keys)))
        bias[rng.random(bias.shape) < pick((0, 0.1))] = -np.inf
        options["bias"] = bias
    if chance(0.3):
        options["scale"] = pick((0.0, 1.0, -0.5, 3.0))
    if chance(0.3):
        options["num_threads"] = pick((1, 2))

    poisoned = bool(hidden.any()) and chance(0.7)
    if poisoned:
        key[..., hidden, :] = np.nan
        value[..., hidden, :] = pick((np.nan, np.inf))
    layout = pick(tuple(LAYOUTS))
    query, key, value = (LAYOUTS[layout](x) for x in (query, key, value))
    return Problem(query, key, value, options, layout, poisoned)


def length(rng: np.random.Generator) -> int:
    """Draw a sequence length at, or next to, an edge; now and then 0."""
    return max(0, int(rng.choice(EDGES)) + int(rng.integers(-2, 3)))


def broadcast(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to `shape`: axes made 1, leading ones left out."""
    shape = tuple(1 if rng.random() < 0.3 else n for n in shape)
    return shape[rng.integers(len(shape) - 1) :]
