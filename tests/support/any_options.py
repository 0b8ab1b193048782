"""Hypothesis strategies: problems of all options together, in any shape, layout and dtype."""

from __future__ import annotations

from typing import Any

import hypothesis
import numpy as np
from hypothesis import strategies as st

import regard
from pages import paged
from problems import LAYOUTS, Problem, make_problem
from regard import bias, masks
from storage_types import FLOATS, rounded, stored

# Up to a row and a key more than two of the kernels' tiles, most often small or next to an edge.
QUERY_EDGES = [47, 48, 49, 63, 64, 65, 96, 97, 128, 129, 191, 192, 193, 384, 385]
KEY_EDGES = [15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 193, 256, 257]

isas = st.sampled_from(regard.available_isas())
dtypes = st.sampled_from([np.float32, np.float64])
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
query_counts = st.one_of(st.integers(1, 20), st.integers(1, 130), st.sampled_from(QUERY_EDGES))
key_counts = st.one_of(st.integers(1, 20), st.integers(1, 130), st.sampled_from(KEY_EDGES))
head_dims = st.one_of(st.integers(1, 40), st.sampled_from([48, 64, 80, 96, 128, 129]))
head_counts = st.sampled_from([(1, 1), (2, 2), (2, 1), (6, 2), (5, 1), (3, 3), (8, 2)])
batches = st.sampled_from([(), (1,), (2,), (3,), (2, 2)])
reals = st.floats(-2, 2, width=32)
layouts = st.sampled_from([lambda x: x, *LAYOUTS.values()])
# Twice what the other properties have: there are more options than examples of the default.
thorough = hypothesis.settings(max_examples=2 * hypothesis.settings().max_examples)


class Draw:
    """Random options for a score shape. The large arrays come from `rng`, not from Hypothesis."""

    def __init__(self, draw: Any, rng: np.random.Generator, shape: tuple, dtype: Any) -> None:
        self.draw, self.rng, self.shape, self.dtype = draw, rng, shape, dtype
        *self.batch, self.heads, self.queries, self.keys = shape

    def broadcast(self, kept: int = 1) -> tuple[int, ...]:
        """The score shape with axes made 1; leading ones left out, of which `kept` stay."""
        first = self.draw(st.integers(0, len(self.shape) - kept))
        ones = [self.draw(st.booleans()) for _ in self.shape]
        shape = [1 if one else n for one, n in zip(ones, self.shape, strict=True)]
        return tuple(shape[first:])

    def of_heads(self, numbers: st.SearchStrategy) -> Any:
        """One number, or one for each head."""
        if self.draw(st.booleans()):
            return self.draw(numbers)
        return np.array([self.draw(numbers) for _ in range(self.heads)])

    def of_elements(self, low: int, high: int) -> Any:
        if self.draw(st.booleans()):
            return self.draw(st.integers(low, high))
        return self.rng.integers(low, high, self.batch, endpoint=True)

    def causal(self) -> Any:
        return self.draw(st.sampled_from([False, True, "lower_right", "upper_left"]))

    def window(self) -> Any:
        near = st.one_of(st.integers(0, 10), st.integers(0, self.keys + 5))

        def side() -> Any:
            kind = self.draw(st.sampled_from(["none", "one", "heads"]))
            if kind == "heads":
                limits = st.one_of(st.just(-1), near)
                return np.array([self.draw(limits) for _ in range(self.heads)])
            return None if kind == "none" else self.draw(near)

        return side() if self.draw(st.booleans()) else (side(), side())

    def mask(self) -> Any:
        share = self.draw(st.sampled_from([0.05, 0.5, 0.95]))
        form = self.draw(st.sampled_from(["dense", "packed", "block", "pattern"]))
        if form == "dense":
            return self.rng.random(self.broadcast()) < share
        if form == "packed":
            shape = (*self.broadcast(2)[:-1], self.keys)
            return regard.PackedMask.from_dense(self.rng.random(shape) < share)
        size = self.draw(st.sampled_from([16, 32, 64, 128, 256]))
        if form == "pattern":
            return self.pattern(size)
        shape = (*self.broadcast(2)[:-2], self.queries, self.keys)
        # Empty and full tiles as well as mixed ones.
        tiles = (*shape[:-2], -(-self.queries // 32), -(-self.keys // 32))
        density = np.kron(self.rng.choice([0, share, 1], tiles), np.ones((32, 32)))
        mask = self.rng.random(shape) < density[..., : self.queries, : self.keys]
        return regard.BlockMask.from_dense(mask, block_size=size)

    def pattern(self, size: int) -> regard.BlockMask:
        ids = self.rng.integers(0, 4, self.queries), self.rng.integers(0, 4, self.keys)
        both = self.queries, self.keys
        patterns = {
            "causal": lambda: masks.causal(*both, block_size=size),
            "documents": lambda: masks.documents(*map(np.sort, ids), block_size=size),
            "global": lambda: masks.sliding_window_global(*both, 9, [0], block_size=size),
            "dilated": lambda: masks.dilated(*both, 5, 3, block_size=size),
        }
        return patterns[self.draw(st.sampled_from(sorted(patterns)))]()

    def bias(self) -> np.ndarray:
        x = 2 * self.rng.standard_normal(self.broadcast())
        masked = self.rng.random(x.shape) < self.draw(st.sampled_from([0.0, 0.1, 0.9]))
        x = np.where(masked, -np.inf, x).astype(self.dtype)
        if self.dtype == np.float32:
            return rounded(x, FLOATS[self.draw(st.sampled_from(sorted(FLOATS)))])
        return x

    def position_bias(self) -> bias.PositionBias:
        columns = self.draw(st.sampled_from([1, self.heads]))
        kind = self.draw(st.sampled_from(["near", "far", "T5", "T5 causal"]))
        rows = {"near": 2 * self.draw(st.integers(0, 9)) + 1, "far": 801}.get(kind, 32)
        table = self.rng.standard_normal((rows, columns))
        if rows % 2:
            return bias.Relative(table)
        return bias.T5(table, bidirectional=kind == "T5", max_distance=self.draw(
            st.sampled_from([20, 128])))  # fmt: skip

    def key_lengths(self) -> Any:
        return self.of_elements(0, self.keys)

    def query_lengths(self) -> Any:
        return self.of_elements(0, self.queries)

    def query_offset(self) -> Any:
        return self.of_elements(-self.queries - 3, self.keys + 3)

    def scale(self) -> Any:
        return self.of_heads(st.one_of(st.just(0.0), reals))

    def query_scale(self) -> np.ndarray:
        shape = self.broadcast()[:-1]  # without the keys
        return self.rng.choice([0.0, 1.0, -0.5, 0.25, 3.0], shape)

    def softcap(self) -> Any:
        return self.of_heads(st.one_of(st.just(0.0), st.floats(0.125, 60, width=32)))

    def alibi_slopes(self) -> np.ndarray:
        lead = self.draw(st.sampled_from([(), tuple(self.batch)]))
        return self.rng.choice([1.0, 0.1, 0.01, 0.0, -0.01], (*lead, self.heads))

    def sinks(self) -> np.ndarray:
        return self.rng.choice([-np.inf, -3.0, 0.0, 2.5, 50.0], self.heads)

    def similarity(self) -> str:
        return self.draw(st.sampled_from(["dot", "cosine"]))

    def num_threads(self) -> int:
        return self.draw(st.integers(1, 4))


MASKS = ("causal", "window", "mask", "key_lengths", "query_lengths", "query_offset")
SCORES = (
    "bias", "position_bias", "scale", "query_scale", "softcap", "alibi_slopes", "sinks",
    "similarity",
)  # fmt: skip


def some_options(draw: Any, d: Draw, names: tuple[str, ...]) -> dict[str, Any]:
    chosen = draw(st.sets(st.sampled_from(names)))
    options = {name: getattr(d, name)() for name in names if name in chosen}
    if draw(st.booleans()):
        options["dropout"] = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
        options["seed"] = draw(st.integers(0, 2**64 - 1))
    return options


def as_stored(draw: Any, problem: Problem) -> Problem:
    """A float32 problem in other storage types: of one type, or of any mix."""
    names = sorted(FLOATS)
    if draw(st.booleans()):
        name = draw(st.sampled_from(names))
        types = (name, name, name)
    else:
        of_rows = st.sampled_from([*names, "int8"])
        types = draw(st.tuples(st.sampled_from(names), of_rows, of_rows))
    changes = {}
    for n, name in zip(("query", "key", "value"), types, strict=True):
        changes[n], scales = stored(getattr(problem, n), name)
        if scales is not None:
            changes[f"{n}_scales"] = scales
    return problem.but(**changes)


def in_pages(draw: Any, rng: np.random.Generator, problem: Problem) -> Problem:
    """The same in pages of any size that divides the keys, so that masks fit as they are."""
    keys = problem.score_shape[-1]
    sizes = [n for n in range(1, keys + 1) if keys % n == 0]
    batch = problem.score_shape[:-3]
    arrays = {
        n: np.broadcast_to(getattr(problem, n), batch + getattr(problem, n).shape[-3:])
        for n in ("key", "value")
    }
    scales = {
        n: np.broadcast_to(problem.options[n], batch + problem.options[n].shape[-2:])
        for n in ("key_scales", "value_scales")
        if n in problem.options
    }
    return paged(rng, problem.but(**arrays, **scales), draw(st.sampled_from(sizes)))


@st.composite
def problems(draw: Any, storage: bool = True) -> Problem:
    heads, kv_heads = draw(head_counts)
    rng, dtype = draw(rngs), draw(dtypes)
    grid = draw(st.sampled_from([None] * 9 + [(3, 4), (7, 7), (12, 11)]))
    pixels = grid[0] * grid[1] if grid else 0
    problem = make_problem(
        rng,
        batch=draw(batches),
        heads=heads,
        kv_heads=kv_heads,
        queries=pixels or draw(query_counts),
        keys=pixels or draw(key_counts),
        head_dim=draw(head_dims),
        value_dim=draw(st.one_of(st.none(), head_dims)),
        dtype=dtype,
    )
    if storage and dtype == np.float32 and draw(st.booleans()):
        problem = as_stored(draw, problem)
    d = Draw(draw, rng, problem.score_shape, dtype)
    if grid is None:
        return problem.but(**some_options(draw, d, (*MASKS, *SCORES, "num_threads")))
    table = rng.standard_normal(((2 * grid[0] - 1) * (2 * grid[1] - 1), heads))
    options = some_options(draw, d, ("causal", "window", "mask", "num_threads", *SCORES))
    return problem.but(**options | {"position_bias": bias.Grid(table, *grid)})


def poisoned(problem: Problem) -> Problem:
    """NaN in everything that no row reads."""
    unseen = ~problem.seen_keys
    batch = problem.score_shape[:-3]
    changes = {}
    for n in ("key", "value"):
        x, axes = getattr(problem, n), 3
        if x.dtype == np.int8:  # which cannot be NaN; its scales can
            n, axes = f"{n}_scales", 2
            x = problem.options[n]
        changes[n] = np.broadcast_to(x, batch + x.shape[-axes:]).copy()
        changes[n][unseen] = rounded(np.nan, x.dtype)
    # A row that sees nothing reads nothing.
    changes["query"] = np.broadcast_to(problem.query, batch + problem.query.shape[-3:]).copy()
    changes["query"][~problem.sees.any(axis=-1)] = rounded(np.nan, problem.query.dtype)
    return problem.but(**changes)
