"""What the tests share: random problems, error budgets, and the same values laid out otherwise."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np

import regard
from layouts import LAYOUTS as LAYOUTS
from regard import reference
from regard._bfloat16 import is_bfloat16, widened
from storage_types import EPS, eps_of, name_of, values

DTYPES = (np.float32, np.float64)

# Error budgets, in units of eps of the dtype, eps = 2^-23 or 2^-52.
#
# A score is a dot product of head_dim rounded terms. Its error is at most head_dim · eps/2 of the
# sum of their magnitudes, and about eps of it in practice, since rounding errors come with either
# sign (3 eps once in millions of rows, at head_dim 128). softmax turns an absolute error of a score
# into a relative one of a weight, and the weights sum to one: the output is off by
# MAGNITUDE · eps · (largest sum of magnitudes) · max |value|.
# What is added to a score adds to its magnitude.
MAGNITUDE = 4
# On top of it: the polynomial of exp2 (2 eps), the sums over keys and the division (an eps each).
CONSTANT = 6
# softcap's tanh: an exponential, two sums and a division, relative to the capped score.
TANH = 4
# Cosine similarity divides each product by two norms, with a square root each.
NORMS = 2
# A naive evaluation in the same precision rounds as often. The root mean squares of the errors are
# compared: the largest ones are a matter of luck.
NAIVE_RATIO = 2
# An output of 16 bits is rounded once, by half of its own eps. Where the products themselves are in
# bfloat16, so are the weights: each is off by half an eps of that, and their mean by less.
WEIGHTS_IN_BFLOAT16 = 2

# Of float16: the smallest number that overflows, and half of the distance of its smallest ones.
LARGEST, SMALLEST = 65520.0, 2.0**-25

# The options that decide which keys are seen, and those that decide where queries stand.
POSITIONS = ("causal", "key_lengths", "query_lengths", "query_offset")
STORAGE = ("key_scales", "value_scales", "block_table")
MASKS = (*POSITIONS, "window", "mask", "bias")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Arguments of one call of attention."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def but(self, **changes: Any) -> Problem:
        """The same with other arrays or options."""
        arrays = {n: changes.pop(n) for n in ("query", "key", "value") if n in changes}
        return dataclasses.replace(self, **arrays, options=self.options | changes)

    def attention(self, **more: Any) -> Any:
        return regard.attention(self.query, self.key, self.value, **self.options, **more)

    def output_and_lse(self, **more: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.attention(return_lse=True, **more)

    def oracle(self) -> tuple[np.ndarray, np.ndarray]:
        return reference.attention(
            self.query, self.key, self.value, return_lse=True, **self.options
        )

    @property
    def scale(self) -> Any:
        """A number, or one for each head."""
        scale = self.options.get("scale")
        if scale is not None:
            return scale
        return 1.0 if self.is_cosine else 1 / np.sqrt(self.query.shape[-1])

    @property
    def is_cosine(self) -> bool:
        return self.options.get("similarity") == "cosine"

    @cached_property
    def plain(self) -> Problem:
        """The same in float64, without scales and pages."""
        options = {n: x for n, x in self.options.items() if n not in STORAGE}
        key_scales, value_scales, table = (self.options.get(n) for n in STORAGE)
        return Problem(
            reference.stored(self.query),
            reference.stored(self.key, key_scales, table),
            reference.stored(self.value, value_scales, table),
            options,
        )

    @property
    def precision(self) -> str:
        """Name of the type that the scores and their sums are computed in."""
        dtype = np.asarray(self.query).dtype
        return "float64" if dtype.kind in "iub" or dtype == np.float64 else "float32"

    @property
    def score_shape(self) -> tuple[int, ...]:
        """(..., Hq, Sq, Sk), with the axes that arrays of lower rank do not have."""
        shapes = [np.shape(a) for a in (self.query, self.plain.key, self.plain.value)]
        query, key, value = ((1,) * (3 - len(shape)) + shape for shape in shapes)
        batch = np.broadcast_shapes(query[:-3], key[:-3], value[:-3])
        return (*batch, *query[-3:-1], key[-2])

    @property
    def sees(self) -> np.ndarray:
        """Which keys each query sees, bool of `score_shape`."""
        options = {name: self.options[name] for name in MASKS if name in self.options}
        return np.broadcast_to(reference.visible(self.score_shape, **options), self.score_shape)

    @property
    def seen_keys(self) -> np.ndarray:
        """Which keys any query of their group sees, bool (..., Hkv, Sk)."""
        *batch, heads, _, keys = self.score_shape
        by_head = self.sees.any(axis=-2)
        kv_heads = self.plain.key.shape[-3]
        return by_head.reshape(*batch, kv_heads, heads // max(kv_heads, 1), keys).any(axis=-2)

    def tolerance(self) -> tuple[float, float]:
        """Absolute error allowed of the output and of the LSE."""
        error = EPS[self.precision] * (CONSTANT + self._score_error())
        kept = 1 / (1 - self.options.get("dropout", 0.0))
        largest = float(_finite(self.plain.value).max(initial=0))
        weights = 0.0
        types = {name_of(np.asarray(a).dtype) for a in (self.query, self.key, self.value)}
        if types == {"bfloat16"} and regard.active_isa() == "avx512_bf16":
            weights = WEIGHTS_IN_BFLOAT16 * EPS["bfloat16"]
        return (error + weights) * kept * largest, error

    def _score_error(self) -> float:
        """Largest error of a score, in eps."""
        arrays = _finite(self.plain.query), _finite(self.plain.key)
        alike = {"similarity": self.options.get("similarity", "dot")}
        factor = self.options.get("query_scale")
        sizes = None if factor is None else _finite(factor)
        terms = reference.scores(
            *arrays, batch=self.score_shape[:-3], scale=np.abs(self.scale), query_scale=sizes,
            **alike,
        )  # fmt: skip
        error = MAGNITUDE * terms * (NORMS if self.is_cosine else 1)
        cap = np.asarray(self.options.get("softcap", 0.0), dtype=np.float64)
        if np.nan_to_num(cap).any():
            # The slope of the cap makes errors of large scores smaller.
            signed = (_finite(a, signed=True) for a in (self.plain.query, self.plain.key))
            s = reference.scores(
                *signed, batch=self.score_shape[:-3], scale=self.scale, query_scale=factor, **alike
            )
            cap = cap.reshape(-1, *(1, 1) * cap.ndim)
            t = np.tanh(s / np.where(cap > 0, cap, np.inf))
            error = error * (1 - t**2) + TANH * np.abs(cap * t)
        largest = float(error.max(initial=0)) + MAGNITUDE * self._largest_added()
        sinks = _finite(self.options.get("sinks", 0.0))
        # A sink is a score that is added to nothing.
        return max(largest, MAGNITUDE * float(sinks.max(initial=0)))

    def _largest_added(self) -> float:
        """Largest magnitude of what is added to any score."""
        *batch, heads, queries, keys = self.score_shape
        where = {name: self.options[name] for name in POSITIONS if name in self.options}
        offset = reference.offsets(self.score_shape, **where)
        total = 0.0
        if self.options.get("alibi_slopes") is not None and queries and keys:
            ends = offset + np.array([0, queries - 1])
            distance = np.abs(np.stack([ends, ends - (keys - 1)])).max(initial=0)
            total += float(_finite(self.options["alibi_slopes"]).max(initial=0) * distance)
        if self.options.get("position_bias") is not None:
            none = np.zeros((heads, queries, 1)), np.zeros((heads, keys, 1))
            dense = reference.scores(
                *none, batch=tuple(batch), position_bias=self.options["position_bias"],
                offset=offset,
            )  # fmt: skip
            total += float(_finite(dense).max(initial=0))
        if self.options.get("bias") is not None:
            total += float(_finite(self.options["bias"]).max(initial=0))
        return total


def _finite(x: Any, signed: bool = False) -> np.ndarray:
    """Magnitudes, without what is not finite."""
    x = values(x)
    x = np.where(np.isfinite(x), x, 0)
    return x if signed else np.abs(x)


def make_problem(
    rng: np.random.Generator,
    *,
    batch: tuple[int, ...] = (),
    heads: int = 1,
    kv_heads: int | None = None,
    queries: int = 5,
    keys: int = 7,
    head_dim: int = 8,
    value_dim: int | None = None,
    dtype: Any = np.float32,
    **options: Any,
) -> Problem:
    """Normal random query, key and value of the given sizes."""

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    kv_heads = heads if kv_heads is None else kv_heads
    value_dim = head_dim if value_dim is None else value_dim
    return Problem(
        query=normal(*batch, heads, queries, head_dim),
        key=normal(*batch, kv_heads, keys, head_dim),
        value=normal(*batch, kv_heads, keys, value_dim),
        options=options,
    )


def positions(
    rng: np.random.Generator,
    dtype: Any,
    *,
    queries: int,
    keys: int,
    batch: tuple[int, ...] = (),
    heads: int = 1,
    **options: Any,
) -> Problem:
    """Values that are the key's own index: an output row is a mean of the positions it sees."""
    problem = make_problem(
        rng, batch=batch, heads=heads, queries=queries, keys=keys, head_dim=4, dtype=dtype,
        scale=0.0, **options,
    )  # fmt: skip
    value = np.broadcast_to(np.arange(keys, dtype=dtype)[:, np.newaxis], (*batch, heads, keys, 1))
    return problem.but(value=value)


def check_seen(problem: Problem) -> None:
    """With equal scores the LSE counts the keys seen, and the output is their mean: no tolerance
    hides a key too many or too few."""
    out, lse = problem.output_and_lse()
    sees = problem.sees
    count = sees.sum(axis=-1)
    np.testing.assert_array_equal(np.rint(np.exp(lse.astype(np.float64))), count)
    np.testing.assert_array_equal(np.isneginf(lse), count == 0)
    total = np.where(sees, np.arange(sees.shape[-1]), 0).sum(axis=-1)
    # Neighbouring counts of at most 257 keys give means further apart than this.
    np.testing.assert_allclose(out[..., 0], total / np.maximum(count, 1), rtol=1e-5)
    np.testing.assert_array_equal(out[count == 0], 0)


def naive(problem: Problem, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """What NumPy users write, in the given precision. Every row must see a finite score."""
    query, key, value = (
        np.asarray(a, dtype=dtype) for a in (problem.query, problem.key, problem.value)
    )
    group = query.shape[-3] // key.shape[-3]
    key, value = (np.repeat(a, group, axis=-3) for a in (key, value))
    s = (query @ key.swapaxes(-1, -2)) * dtype(problem.scale)
    if problem.options.get("bias") is not None:
        s = s + problem.options["bias"].astype(dtype)
    s = np.where(problem.sees, s, dtype(-np.inf))
    m = s.max(axis=-1, keepdims=True)
    p = np.exp(s - m)
    z = p.sum(axis=-1, keepdims=True)
    return (p / z) @ value, (m + np.log(z))[..., 0]


def check(problem: Problem, got: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Output and LSE agree with the oracle: the same NaNs and infinities, and within the budget."""
    output, lse = problem.output_and_lse() if got is None else got
    expected, expected_lse = problem.oracle()
    output_error, lse_error = problem.tolerance()
    assert_close(output, expected, output_error)
    assert_close(lse, expected_lse, lse_error)


def assert_close(got: np.ndarray, expected: np.ndarray, atol: float) -> None:
    assert got.shape == expected.shape
    eps = eps_of(got.dtype)
    got = values(got)
    if eps > EPS["float32"]:
        # What is beyond the range of 16 bits rounds to infinity; the smallest numbers are rough.
        expected = np.where(np.isinf(got) & (np.abs(expected) >= LARGEST), got, expected)
        atol += SMALLEST
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), "NaN in other places")
    finite = np.isfinite(expected)
    odd = ~finite & ~np.isnan(expected)
    np.testing.assert_array_equal(got[odd], expected[odd], "infinities differ")
    # An LSE has the size of the scores, so allow it the rounding of its own value as well.
    # Of 16 bits that is all there is to allow: half of an eps, once.
    rtol = eps * (2 if eps <= EPS["float32"] else 0.5 + 2**-12)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=rtol, atol=atol)


def assert_same_bits(got: Any, expected: Any) -> None:
    """Arrays (or tuples of them) hold the same bits, NaNs being alike whatever their payload."""
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same_bits(one, other)
        return
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if is_bfloat16(expected.dtype):
        got, expected = widened(got), widened(expected)
    np.testing.assert_array_equal(got, expected, strict=True)
    signs = np.isnan(expected) | (np.signbit(got) == np.signbit(expected))
    assert signs.all(), "the sign of a zero differs"
