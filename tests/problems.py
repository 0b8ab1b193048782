"""What the tests share: random problems, error budgets, and the same values laid out otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import regard
from regard import reference

DTYPES = (np.float32, np.float64)

# Error budgets, in units of eps of the dtype, eps = 2^-23 or 2^-52.
#
# A score is a dot product of head_dim rounded terms. Its error is at most head_dim · eps/2 of the
# sum of their magnitudes, and about eps of it in practice, since rounding errors come with either
# sign. softmax turns an absolute error of a score into a relative one of a weight, and the weights
# sum to one: the output is off by MAGNITUDE · eps · (largest sum of magnitudes) · max |value|.
MAGNITUDE = 2
# On top of it: the polynomial of exp2 (2 eps), the sums over keys and the division (an eps each).
CONSTANT = 6
# A naive evaluation in the same precision rounds as often. The root mean squares of the errors are
# compared: the largest ones are a matter of luck.
NAIVE_RATIO = 2


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
    def scale(self) -> float:
        scale = self.options.get("scale")
        return 1 / np.sqrt(self.query.shape[-1]) if scale is None else scale

    @property
    def score_shape(self) -> tuple[int, ...]:
        """(..., Hq, Sq, Sk), for arrays of rank 3 and up."""
        arrays = (self.query, self.key, self.value)
        batch = np.broadcast_shapes(*(a.shape[:-3] for a in arrays))
        return (*batch, *self.query.shape[-3:-1], self.key.shape[-2])

    @property
    def sees(self) -> np.ndarray:
        """Which keys each query sees, bool of `score_shape`."""
        masks = ("causal", "window", "mask", "bias", "key_lengths")
        options = {name: self.options[name] for name in masks if name in self.options}
        return np.broadcast_to(reference.visible(self.score_shape, **options), self.score_shape)

    @property
    def seen_keys(self) -> np.ndarray:
        """Which keys any query of their group sees, bool (..., Hkv, Sk)."""
        *batch, heads, _, keys = self.score_shape
        by_head = self.sees.any(axis=-2)
        kv_heads = self.key.shape[-3]
        return by_head.reshape(*batch, kv_heads, heads // max(kv_heads, 1), keys).any(axis=-2)

    def tolerance(self) -> tuple[float, float]:
        """Absolute error allowed of the output and of the LSE."""
        dtype = np.asarray(self.query).dtype
        eps = float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
        terms = reference.scores(_finite(self.query), _finite(self.key), scale=abs(self.scale))
        score = np.abs(terms).max(initial=0)
        if self.options.get("bias") is not None:
            score = score + np.abs(_finite(self.options["bias"], signed=True)).max(initial=0)
        error = float(eps * (CONSTANT + MAGNITUDE * score))
        return error * float(_finite(self.value).max(initial=0)), error


def _finite(x: Any, signed: bool = False) -> np.ndarray:
    """Magnitudes, without what is not finite."""
    x = np.asarray(x, dtype=np.float64)
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
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), "NaN in other places")
    finite = np.isfinite(expected)
    odd = ~finite & ~np.isnan(expected)
    np.testing.assert_array_equal(got[odd], expected[odd], "infinities differ")
    # An LSE has the size of the scores, so allow it the rounding of its own value as well.
    rtol = 2 * float(np.finfo(got.dtype).eps)
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
    np.testing.assert_array_equal(got, expected, strict=True)
    signs = np.isnan(expected) | (np.signbit(got) == np.signbit(expected))
    assert signs.all(), "the sign of a zero differs"


# The same values in another memory layout. Each returns an array equal to its argument.


def _with_axes_moved(x: np.ndarray) -> np.ndarray:
    """(..., length, heads, dim) in memory, seen as (..., heads, length, dim)."""
    if x.ndim < 3:
        return np.asfortranarray(x)
    return np.ascontiguousarray(x.swapaxes(-3, -2)).swapaxes(-3, -2)


def _reversed(x: np.ndarray) -> np.ndarray:
    """Negative strides on every axis."""
    flip = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[flip])[flip]


def _padded(x: np.ndarray) -> np.ndarray:
    """Rows further apart than they are long."""
    wide = np.full((*x.shape[:-1], x.shape[-1] + 3), 7, dtype=x.dtype)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


def _every_third(x: np.ndarray) -> np.ndarray:
    """A last axis whose stride is not one element."""
    wide = np.full((*x.shape[:-1], 3 * x.shape[-1]), 7, dtype=x.dtype)
    wide[..., ::3] = x
    return wide[..., ::3]


def _last_axis_reversed(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def _unaligned(x: np.ndarray) -> np.ndarray:
    """Contiguous, beginning at an odd address."""
    store = bytearray(x.nbytes + 1)
    view = np.frombuffer(store, dtype=x.dtype, offset=1, count=x.size).reshape(x.shape)
    view[...] = x
    return view


def _field(x: np.ndarray) -> np.ndarray:
    """A field of a packed record: every stride is odd, none a multiple of the item's size."""
    records = np.zeros(x.shape, dtype=np.dtype([("tag", np.int8), ("x", x.dtype)]))
    records["x"] = x
    return records["x"]


def _row_field(x: np.ndarray) -> np.ndarray:
    """Rows as fields of packed records: unit last axis, odd strides elsewhere."""
    row = np.dtype([("tag", np.int8), ("row", x.dtype, (x.shape[-1],))])
    records = np.zeros(x.shape[:-1], dtype=row)
    records["row"] = x
    return records["row"]


def _readonly(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "axes moved": _with_axes_moved,
    "Fortran": np.asfortranarray,
    "reversed": _reversed,
    "padded": _padded,
    "every third": _every_third,
    "last axis reversed": _last_axis_reversed,
    "unaligned": _unaligned,
    "field": _field,
    "row field": _row_field,
    "read-only": _readonly,
}
