"""What the tests of gradients share: options of any size, and a check against the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import regard
from problems import Problem, make_problem
from regard import reference
from regard.reference._stored import values

# Gradients of these are wanted where they are given.
EXTRAS = ("bias", "sinks", "alibi_slopes", "position_bias", "query_scale")

# Scores of the problems that have one option each: several tiles and blocks of keys.
SHAPE = (2, 4, 131, 203)

Make = Callable[[np.random.Generator, tuple[int, ...], Any], dict[str, Any]]


def _normal(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def _table(rng: np.random.Generator, dtype: Any, rows: int, heads: int | None) -> np.ndarray:
    return _normal(rng, dtype, rows, *([] if heads is None else [heads]))


# Each makes the options of a problem with scores (batch, heads, queries, keys).
OPTIONS: dict[str, Make] = {
    "plain": lambda rng, shape, dtype: {},
    "causal": lambda rng, shape, dtype: {"causal": True},
    "upper left": lambda rng, shape, dtype: {"causal": "upper_left"},
    "window": lambda rng, shape, dtype: {"window": (shape[-1] // 4, 2)},
    "windows of heads": lambda rng, shape, dtype: {
        "window": (rng.integers(-1, shape[-1], shape[1]), None), "causal": True,
    },
    "mask": lambda rng, shape, dtype: {
        "mask": rng.random((shape[0], 1, *shape[-2:])) < 0.6
    },
    "packed mask": lambda rng, shape, dtype: {
        "mask": regard.PackedMask.from_dense(rng.random(shape[-2:]) < 0.5)
    },
    "lengths": lambda rng, shape, dtype: {
        "key_lengths": rng.integers(1, shape[-1], shape[0]),
        "query_lengths": rng.integers(1, shape[-2], shape[0]), "causal": True,
    },
    "rows that see nothing": lambda rng, shape, dtype: {
        "mask": (np.arange(shape[-2]) % 3 > 0)[:, np.newaxis] & np.ones(shape[-1], bool)
    },
    "scale of heads": lambda rng, shape, dtype: {
        "scale": np.array([0.5, -1.0, 0.0, 2.0] * shape[1])[: shape[1]] / 4
    },
    "query scale": lambda rng, shape, dtype: {
        "query_scale": rng.choice([0.0, 1.0, -0.5, 2.0], shape[:-1]), "causal": True,
    },
    "query scale by position": lambda rng, shape, dtype: {
        "query_scale": np.log(np.arange(2, shape[-2] + 2)), "softcap": 3.0,
        "similarity": "cosine",
    },
    "softcap": lambda rng, shape, dtype: {
        "softcap": np.array([1.0, 0.0, 3.0, 0.5] * shape[1])[: shape[1]]
    },
    "alibi": lambda rng, shape, dtype: {
        "alibi_slopes": rng.standard_normal(shape[1]) / 8, "causal": True,
    },
    "alibi of elements": lambda rng, shape, dtype: {
        "alibi_slopes": rng.standard_normal(shape[:2]) / 8,
        "query_offset": rng.integers(0, 5, shape[0]),
    },
    "bias": lambda rng, shape, dtype: {"bias": _normal(rng, dtype, *shape)},
    "bias of heads": lambda rng, shape, dtype: {
        "bias": _normal(rng, dtype, *shape[1:]), "causal": True,
    },
    "bias of all": lambda rng, shape, dtype: {"bias": _normal(rng, dtype, *shape[-2:])},
    "bias of elements": lambda rng, shape, dtype: {
        "bias": _normal(rng, dtype, shape[0], 1, *shape[-2:])
    },
    "bias of keys": lambda rng, shape, dtype: {
        "bias": _normal(rng, dtype, shape[0], 1, 1, shape[-1]), "window": (9, 30),
    },
    "bias of queries": lambda rng, shape, dtype: {
        "bias": _normal(rng, dtype, shape[1], shape[2], 1), "causal": True,
        "sinks": rng.standard_normal(shape[1]),
    },
    "bias of one number": lambda rng, shape, dtype: {
        "bias": _normal(rng, dtype, 1, 1), "sinks": rng.standard_normal(shape[1]),
    },
    "bias with -inf": lambda rng, shape, dtype: {
        "bias": np.where(rng.random(shape[1:]) < 0.3, -np.inf, 0.5).astype(dtype)
    },
    "relative": lambda rng, shape, dtype: {
        "position_bias": regard.bias.Relative(_table(rng, dtype, 21, shape[1])), "causal": True,
    },
    "relative of all heads": lambda rng, shape, dtype: {
        "position_bias": regard.bias.Relative(_table(rng, dtype, 2 * shape[-1] + 9, None))
    },
    "T5": lambda rng, shape, dtype: {
        "position_bias": regard.bias.T5(_table(rng, dtype, 12, shape[1]), max_distance=40)
    },
    "sinks": lambda rng, shape, dtype: {
        "sinks": np.array([0.0, 1.0, -np.inf, 3.0] * shape[1])[: shape[1]], "causal": True,
    },
    "sinks alone": lambda rng, shape, dtype: {
        "sinks": np.ones(shape[1]), "query_offset": -shape[-2] // 2, "causal": True,
    },
    "cosine": lambda rng, shape, dtype: {"similarity": "cosine", "scale": 3.0},
    "cosine capped": lambda rng, shape, dtype: {
        "similarity": "cosine", "scale": 3.0, "softcap": 2.0, "causal": True,
    },
    "dropout": lambda rng, shape, dtype: {"dropout": 0.3, "seed": 5},
    "dropout causal": lambda rng, shape, dtype: {"dropout": 0.3, "seed": 5, "causal": True},
    "all": lambda rng, shape, dtype: {
        "dropout": 0.3, "seed": 5, "softcap": 2.0, "causal": True, "similarity": "cosine",
        "bias": _normal(rng, dtype, shape[1], 1, shape[-1]),
        "query_scale": rng.choice([1.0, -0.5, 2.0], (shape[1], 1)),
        "alibi_slopes": rng.standard_normal(shape[1]) / 8,
        "sinks": rng.standard_normal(shape[1]), "mask": rng.random(shape[-2:]) < 0.8,
        "position_bias": regard.bias.Relative(_table(rng, dtype, 5, shape[1])),
    },
}  # fmt: skip


def upstream(rng: np.random.Generator, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Random derivatives by output and LSE."""
    out, lse = problem.output_and_lse()
    dtype = out.dtype
    return rng.standard_normal(out.shape).astype(dtype), rng.standard_normal(lse.shape).astype(
        dtype
    )


def wanted(problem: Problem) -> list[str]:
    return [
        "query", "key", "value",
        *(name for name in EXTRAS if problem.options.get(name) is not None),
    ]  # fmt: skip


def gradients(problem: Problem, dout: Any, dlse: Any = None, **more: Any) -> regard.Gradients:
    """All that there are."""
    names = more.pop("wrt", wanted(problem))
    arrays = problem.query, problem.key, problem.value
    _, vjp = regard.attention_vjp(*arrays, **problem.options, **more)
    return vjp(dout, dlse, wrt=names)


# Error budget: MOST eps of the largest number of a gradient, about twice what was seen on any ISA;
# and, where terms cancel, a few of the sum of their magnitudes.
MOST = 64
CANCELLED = 8


def check_gradients(problem: Problem, got: Any, dout: Any, dlse: Any = None) -> None:
    """Against the oracle, within the budget."""
    arrays = problem.query, problem.key, problem.value
    expected = reference.gradients(dout, *arrays, dlse=dlse, **problem.options)
    eps = float(np.finfo(np.asarray(problem.query).dtype).eps)
    tiny = float(np.finfo(np.asarray(problem.query).dtype).tiny)  # below it, digits are lost
    bias = problem.options.get("bias")
    # A gradient has the dtype of its input: half a unit of bfloat16's 8 digits.
    rounding = {"bias": 2.0**-8 if bias is not None and bias.dtype.itemsize == 2 else 0}
    sizes = magnitudes(problem, dout, dlse)
    for name in wanted(problem):
        one, other = values(getattr(got, name)), getattr(expected, name)
        assert one.shape == other.shape, name
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other), f"NaN in {name}")
        error = np.abs(np.nan_to_num(one) - np.nan_to_num(other))
        largest = float(np.abs(np.nan_to_num(other)).max(initial=0))
        allowed = (
            rounding.get(name, 0) * largest
            + eps * (MOST * largest + CANCELLED * sizes[name])
            + MOST * tiny
        )
        assert (error <= allowed).all(), (
            f"{name}: off by {float((error / allowed).max()):.2f} of what is allowed"
        )


def magnitudes(problem: Problem, dout: Any, dlse: Any) -> dict[str, float]:
    """The largest sum of magnitudes of the terms of any number of each gradient."""
    o = {
        name: x
        for name, x in problem.options.items()
        if name not in ("dropout", "seed", "num_threads")
    }
    kept = 1 / (1 - problem.options.get("dropout", 0.0))
    q, k, v = (
        np.abs(_with_heads(np.nan_to_num(x))) for x in (problem.query, problem.key, problem.value)
    )
    do = np.abs(np.nan_to_num(np.asarray(dout, np.float64)))
    p = np.nan_to_num(reference.weights(problem.query, problem.key, **o))
    p = np.broadcast_to(p, problem.score_shape)
    heads = p.shape[-3]
    group = heads // k.shape[-3]
    k, v = (np.repeat(x, group, axis=-3) for x in (k, v))
    do = do.reshape(*p.shape[:-1], v.shape[-1])
    dp = kept * (do @ v.swapaxes(-1, -2))
    d = (do * (p @ v)).sum(-1) * kept
    if dlse is not None:
        d = d + np.abs(np.nan_to_num(np.asarray(dlse, np.float64))).reshape(d.shape)
    ds = p * (dp + d[..., np.newaxis])
    scale = np.abs(np.broadcast_to(problem.scale, (heads,)))[:, np.newaxis, np.newaxis]
    of_query = ds * scale
    if problem.options.get("query_scale") is not None:
        factor = np.abs(np.nan_to_num(problem.options["query_scale"]))
        ds_scaled = of_query * np.broadcast_to(factor, p.shape[:-1])[..., np.newaxis]
    else:
        ds_scaled = of_query
    dq, dk = ds_scaled, ds_scaled.swapaxes(-1, -2)
    if problem.is_cosine:
        norms = [np.sqrt(np.square(x).sum(-1, keepdims=True)) for x in (q, k)]
        inverse = [np.divide(1, n, out=np.zeros_like(n), where=n > 0) for n in norms]
        dq, dk = 4 * dq * inverse[0], 4 * dk * inverse[1]
        q, k = q * inverse[0], k * inverse[1]
    many = np.prod(p.shape[:-2])
    by_factor = (of_query * (q @ k.swapaxes(-1, -2))).sum(-1)
    factors = np.size(problem.options.get("query_scale"))
    # Heads of a group, and batch elements that share keys.
    sharing = [many / np.prod(x.shape[:-2]) for x in (problem.key, problem.value)]
    sharing = [max(1, n) if many else 0 for n in sharing]
    distance = max(p.shape[-2:]) + 10
    sums = {
        "query": (dq @ k).max(initial=0),
        "key": (dk @ q).max(initial=0) * sharing[0],
        "value": kept * (p.swapaxes(-1, -2) @ do).max(initial=0) * sharing[1],
        "bias": ds.sum() if np.size(problem.options.get("bias")) < ds.size else ds.max(initial=0),
        "sinks": d.sum(),
        "alibi_slopes": distance * ds.sum(axis=(-1, -2)).max(initial=0) * many,
        "position_bias": ds.sum(),
        "query_scale": by_factor.max(initial=0) * (by_factor.size / max(factors, 1)),
    }
    return {name: float(x) for name, x in sums.items()}


def _with_heads(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64).reshape((1,) * (3 - x.ndim) + x.shape)


def option_problem(rng: np.random.Generator, option: str, dtype: Any, **sizes: Any) -> Problem:
    """A problem of `SHAPE` with one of `OPTIONS`."""
    batch, heads, queries, keys = SHAPE
    return make_problem(
        rng, batch=(batch,), heads=heads, kv_heads=2, queries=queries, keys=keys, head_dim=16,
        value_dim=9, dtype=dtype, **OPTIONS[option](rng, SHAPE, dtype), **sizes,
    )  # fmt: skip


def bits(grads: Any, names: tuple[str, ...] = ("query", "key", "value")) -> tuple[Any, ...]:
    return tuple(getattr(grads, name) for name in names)
