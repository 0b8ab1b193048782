"""The random problems of ``regard check``: they cover the options, and their bounds bind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regard
from regard.cli import problems
from regard.cli.storage import EPS, name_of
from storage_types import bits, values

OPTIONS = (
    "causal", "window", "mask", "bias", "position_bias", "key_lengths", "query_lengths",
    "query_offset", "scale", "softcap", "alibi_slopes", "sinks", "similarity", "dropout",
    "num_threads", "block_table", "key_scales", "value_scales",
)  # fmt: skip


def test_a_problem_is_drawn_from_its_numbers_alone() -> None:
    first, again, other = (problems.draw(*numbers) for numbers in ((3, 5), (3, 5), (3, 6)))
    assert str(first) == str(again) != str(other)
    np.testing.assert_array_equal(bits(first.query), bits(again.query))
    np.testing.assert_array_equal(bits(first.value), bits(again.value))


@pytest.mark.parametrize(
    ("kind", "dtype", "lower"),
    [("float32", np.float32, np.float16), ("float64", np.float64, np.float32)],
)
def test_bounds_notice_a_lower_precision(kind: str, dtype: type, lower: type) -> None:
    """Rounding the inputs to the next lower precision must break the bound, nearly always."""
    broken = total = 0
    for index in range(100):
        problem = problems.draw(1, index)
        output, _ = problem.expected
        types = {name_of(x) for x in (problem.query, problem.key, problem.value)}
        paged = "block_table" in problem.options
        if types != {kind} or not output.any() or problem.poisoned or paged:
            continue
        query, key, value = (
            x.astype(lower).astype(dtype) for x in (problem.query, problem.key, problem.value)
        )
        rounded = regard.reference.attention(query, key, value, **problem.options)
        total += 1
        broken += bool(np.abs(rounded - output).max() > problem.bounds[0])
    assert total > 10
    assert broken >= 0.9 * total


def test_problems_cover_the_options() -> None:
    drawn = [problems.draw(0, index) for index in range(300)]
    for option in OPTIONS:
        share = sum(option in problem.options for problem in drawn) / len(drawn)
        assert 0.1 < share < 0.6
    assert {problem.layout for problem in drawn} == set(problems.LAYOUTS)
    assert {name_of(problem.query) for problem in drawn} == set(EPS)
    kinds = {name_of(x) for problem in drawn for x in (problem.key, problem.value)}
    assert kinds == {*EPS, "int8"}
    assert {problem.query.ndim for problem in drawn} == {3, 4, 5}

    def some(condition: Callable[[problems.Problem], Any]) -> bool:
        return sum(bool(condition(problem)) for problem in drawn) >= 3

    kinds = {type(p.options[n]).__name__ for p in drawn for n in ("mask", "position_bias")
             if n in p.options}  # fmt: skip
    assert kinds == {"ndarray", "PackedMask", "BlockMask", "Relative", "T5", "Grid"}
    for option in ("scale", "softcap", "window"):
        assert some(lambda p, name=option: isinstance(p.options.get(name), np.ndarray))
    assert some(lambda p: p.query.shape[-3] > p.key.shape[-3] > 1)
    assert some(lambda p: len({name_of(x) for x in (p.query, p.key, p.value)}) == 3)
    assert some(lambda p: (p.options.get("block_table", np.zeros(1)) < 0).any())
    assert some(lambda p: p.query.shape[:-3] != p.key.shape[:-3])
    assert some(lambda p: p.value.shape[-1] != p.query.shape[-1])
    assert some(lambda p: p.query.shape[-2] > p.key.shape[-2])
    assert some(lambda p: p.query.shape[-2] == 1)
    assert some(lambda p: p.query.shape[-2] == 0)
    assert some(lambda p: p.key.shape[-2] == 0)
    assert some(lambda p: p.query.shape[0] == 0)
    assert some(lambda p: p.poisoned and np.isnan(values(p.key)).any() and p.expected[0].any())
    assert some(lambda p: np.isneginf(p.expected[1]).any() and np.isfinite(p.expected[1]).any())
    assert all(np.isfinite(problem.expected[0]).all() for problem in drawn)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_a_layout_changes_no_number(layout: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7))
    laid_out = problems.LAYOUTS[layout](x)
    np.testing.assert_array_equal(laid_out, x)
    assert (laid_out.strides == x.strides) == (layout == "contiguous")
