"""Forward and backward pass: regard's call, and how far gradients are from the float64 oracle.

The oracle materialises its scores, so it takes a kv head and its query heads at a time, of the
first and the last batch element, and of those a block of query rows at a time: gradients by
queries are those of the block, gradients by keys and values the sums over the blocks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

import regard
from regard import reference
from regard.bench import options
from regard.bench.case import Case
from regard.bench.inputs import Array, Inputs, options_of

# Scores that the oracle may materialise; a head of the cases with options has as many.
SCORES = 1 << 20

# Heads along the last axis, as in the options and gradients that have one number or column a head.
_BY_HEAD = ("sinks", "alibi_slopes", "position_bias")


def wanted(case: Case, inputs: Inputs) -> tuple[str, ...]:
    """Names of the gradients that are computed: of all inputs that have some."""
    given = [name for name in ("bias", *_BY_HEAD) if name in options_of(case, inputs)]
    return "query", "key", "value", *given


def step(
    inputs: Inputs, words: dict[str, Any], wrt: tuple[str, ...] = ("query", "key", "value")
) -> regard.Gradients:
    """Attention and its gradients: what is timed."""
    _, vjp = regard.attention_vjp(inputs.query, inputs.key, inputs.value, **words)
    gradients: regard.Gradients = vjp(inputs.dout, wrt=wrt)
    return gradients


def largest_error(case: Case, inputs: Inputs, found: regard.Gradients) -> float:
    """Largest difference from the oracle, relative to the largest number of each gradient.

    Parameters
    ----------
    case : Case
    inputs : Inputs
    found : Gradients

    Returns
    -------
    float
        NaN where a gradient has one, or has the wrong shape.
    """
    worst = 0.0
    for (element, kv_head), right in oracle(case, inputs):
        heads = _query_heads(case, kv_head)
        for name, expected in right.items():
            got = getattr(found, name, None)
            if got is None:
                return float("nan")
            if name in ("query", "bias"):
                got = got[element, heads]
            elif name in ("key", "value"):
                got = got[element, kv_head : kv_head + 1]
            else:
                got = got[..., heads]
            if got.shape != expected.shape:
                return float("nan")
            apart = np.abs(reference.stored(got) - expected).max()
            worst = np.maximum(worst, apart / (np.abs(expected).max() or 1))
    return float(worst)


@lru_cache(maxsize=1)  # all contenders are held against the same
def oracle(case: Case, inputs: Inputs) -> list[tuple[tuple[int, int], dict[str, Array]]]:
    """Gradients of some (element, kv head), by their names, heads along the first or last axis."""
    places = {(0, 0), (case.batch - 1, case.kv_heads - 1)}
    if case.option == "dropout":
        places = {(0, 0)}  # whose counters start at 0, as those of the oracle's problem do
    return [(place, _of_head(case, inputs, *place)) for place in sorted(places)]


def _of_head(case: Case, inputs: Inputs, element: int, kv_head: int) -> dict[str, Array]:
    heads = _query_heads(case, kv_head)
    query, dout = (reference.stored(x[element, heads]) for x in (inputs.query, inputs.dout))
    key, value = (
        reference.stored(x[element, kv_head : kv_head + 1]) for x in (inputs.key, inputs.value)
    )
    total = {"query": np.zeros_like(query), "key": np.zeros_like(key)}
    total["value"] = np.zeros_like(value)
    numbers = range(case.heads)[heads]
    more = options.of_heads(inputs.more, list(numbers))
    for name in wanted(case, inputs)[3:]:
        if name == "bias":
            total[name] = np.zeros((len(numbers), case.length, case.key_length))
        else:
            total[name] = np.zeros(np.shape(getattr(more[name], "table", more[name])))
    rows = max(1, SCORES // (case.key_length * len(numbers)))
    for first in range(0, case.length, rows):
        last = min(first + rows, case.length)
        keys = last if case.causal else case.key_length
        bias = None if inputs.bias is None else inputs.bias[element, heads, first:last, :keys]
        part = Inputs(query[:, first:last], key[:, :keys], value[:, :keys], bias=bias, more=more)
        words = options_of(case, part)
        by = reference.gradients(
            dout[:, first:last], part.query, part.key, part.value, **words
        )._asdict()
        total["query"][:, first:last] = by["query"]
        total["key"][:, :keys] += by["key"]
        total["value"][:, :keys] += by["value"]
        if "bias" in total:
            total["bias"][:, first:last, :keys] = by["bias"]
        for name in _BY_HEAD:
            if name in total:
                total[name] += by[name]
    return total


def _query_heads(case: Case, kv_head: int) -> slice:
    group = case.heads // case.kv_heads
    return slice(kv_head * group, (kv_head + 1) * group)
