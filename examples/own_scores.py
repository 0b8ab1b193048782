"""Scores by functions of one's own, against the options that say the same.

Each line is a rule for scores, given three times: as an option of `regard.attention`, as a function
that Numba compiles, and as one of NumPy arrays. Printed are how far the outputs and the gradients
of the queries are apart, and the time of a call in units of one without any of it.

    pip install numba
    python examples/own_scores.py
    python examples/own_scores.py --heads 8 --length 2048 --repeat 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import carray, cfunc, float32, int64, types
from numpy.typing import NDArray

import regard

Array: TypeAlias = NDArray[np.float32]

_POINTER = types.CPointer(float32)
_PLACE = (int64, int64, int64, int64, int64, types.voidptr)
ROWS = types.void(_POINTER, *_PLACE)
GRADIENT = types.void(_POINTER, _POINTER, *_PLACE)
WIDTH = 64.0  # of the soft window: a key so far away loses 1
CAP = 5.0
REACH = 128  # of the relative biases


@dataclass(frozen=True)
class Rule:
    """The same rule three times; functions with their gradients."""

    name: str
    built_in: dict[str, Any]
    compiled: dict[str, Any]
    of_arrays: dict[str, Any]


def with_slope_1(function: Any, of_arrays: Callable[..., Any]) -> tuple[Any, Any]:
    """Options for functions that only add: derivatives pass as they are."""

    @cfunc(GRADIENT)
    def unchanged(dscores, scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        pass

    return (
        {"score_mod": function, "score_mod_gradient": unchanged},
        {"score_mod": of_arrays, "score_mod_gradient": lambda d, *_: d},
    )


def by_distance(name: str, built_in: Any, table: Array) -> Rule:
    """Add ``table[head, key - query]``, where distances beyond its ends take the last entries."""
    reach = table.shape[1] // 2

    @cfunc(ROWS)
    def rows(scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        for n in range(count):
            at = min(max(first + n - query, -reach), reach) + reach
            scores[n] += table[head, at]  # a constant of the compiled function

    def tiles(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return s + table[h, np.clip(j - i, -reach, reach) + reach]

    return Rule(name, {"position_bias": built_in}, *with_slope_1(rows, tiles))


def relative(rng: np.random.Generator, heads: int) -> Rule:
    """Give each distance a number, for each head."""
    table = rng.standard_normal((2 * REACH + 1, heads)).astype(np.float32)
    return by_distance("relative", regard.bias.Relative(table), np.ascontiguousarray(table.T))


def t5(rng: np.random.Generator, heads: int, length: int) -> Rule:
    """T5's buckets: far distances share numbers. The function looks them up by distance."""
    bias = regard.bias.T5(rng.standard_normal((32, heads)))
    reach = min(length, 1024) - 1
    row = bias.to_dense(1, 2 * reach + 1, reach)[:, 0]  # a query in the middle of its keys
    return by_distance("T5", bias, np.ascontiguousarray(row, np.float32))


def soft_window(length: int) -> Rule:
    """Take from each score the square of the distance; as an array it is a bias of all pairs."""

    @cfunc(ROWS)
    def rows(scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        for n in range(count):
            far = float32(first + n - query) * float32(1 / WIDTH)
            scores[n] -= far * far

    def tiles(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return s - np.square((j - i) / WIDTH)

    i = np.arange(length)
    bias = -np.square((i - i[:, np.newaxis]) / WIDTH).astype(np.float32)
    return Rule("soft window", {"bias": bias}, *with_slope_1(rows, tiles))


def softcap() -> Rule:
    """Bound the scores: a rule whose slope is not 1."""

    @cfunc(ROWS)
    def rows(scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        s = carray(scores, (count,))
        s[:] = float32(CAP) * np.tanh(s / float32(CAP))

    @cfunc(GRADIENT)
    def gradient(dscores, scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        for n in range(count):
            t = np.tanh(scores[n] / float32(CAP))
            dscores[n] *= float32(1) - t * t

    def tiles(s: Any, *_: Any) -> Any:
        return CAP * np.tanh(s / CAP)

    def tiles_gradient(d: Any, s: Any, *_: Any) -> Any:
        return d * (1 - np.tanh(s / CAP) ** 2)

    return Rule(
        "softcap",
        {"softcap": CAP},
        {"score_mod": rows, "score_mod_gradient": gradient},
        {"score_mod": tiles, "score_mod_gradient": tiles_gradient},
    )


def seconds(call: Callable[[], Any], repeat: int) -> float:
    """Time of the fastest of some calls."""
    fastest = np.inf
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; see the top of the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    shape = given.heads, given.length, given.head_dim
    query, key, value, dout = rng.standard_normal((4, *shape), dtype=np.float32)
    plain = seconds(lambda: regard.attention(query, key, value), given.repeat)
    rules = relative(rng, given.heads), t5(rng, given.heads, given.length)

    print(f"{'':12} output  gradient  {'':4}built-in  compiled  NumPy")
    for rule in (*rules, soft_window(given.length), softcap()):
        outs, gradients, times = [], [], []
        for options in (rule.built_in, rule.compiled, rule.of_arrays):
            out, vjp = regard.attention_vjp(query, key, value, **options)
            outs.append(out)
            gradients.append(vjp(dout, wrt="query").query)
            call = lambda options=options: regard.attention(query, key, value, **options)  # noqa: E731
            times.append(seconds(call, given.repeat) / plain)
        apart = [
            max(float(abs(x - found[0]).max()) for x in found[1:]) for found in (outs, gradients)
        ]
        print(f"{rule.name:12} {apart[0]:.0e}  {apart[1]:.0e}  {'':4}"
              f"{times[0]:7.2f}x {times[1]:8.2f}x {times[2]:5.1f}x")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
