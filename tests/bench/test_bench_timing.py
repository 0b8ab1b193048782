"""How the benchmark plans its samples, and takes them in turn. Nothing is timed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import pytest

from regard.bench import timing
from small_cases import FAST


def test_contenders_take_turns_by_block() -> None:
    order: list[str] = []
    timings = timing.interleave(
        {name: partial(order.append, name) for name in "ab"},
        replace(FAST, minimum=4),
        between=lambda: order.append("-"),
    )
    blocks = "".join(name for name, _ in itertools.groupby(order))
    assert blocks == "ab-ab-ab"  # warm-ups, then two rounds
    assert {t.samples for t in timings.values()} == {4}


def test_short_calls_are_timed_in_loops_and_long_ones_alone() -> None:
    assert timing._plan(1e-6, FAST).inner == pytest.approx(200, abs=1)
    assert timing._plan(1e-3, FAST).inner == 1


@pytest.mark.parametrize(
    ("seconds", "blocks"), [(1e-3, [75, 75, 75, 75]), (0.1, [2, 3, 2, 3]), (9.0, [1, 2, 2, 2])]
)
def test_samples_are_enough_and_spread_over_the_blocks(seconds: float, blocks: list[int]) -> None:
    plan = timing._plan(seconds, timing.Effort(1.01, rounds=4, minimum=7))
    assert plan.blocks == blocks
