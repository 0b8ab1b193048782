"""Runs of pieces of a batch, so that no run has much more to compute than another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise


def balanced_runs(costs: Sequence[int], joined: Sequence[bool], runs: int) -> list[tuple[int, int]]:
    """Cut pieces into runs, at most so many, of which the costliest is as cheap as can be.

    Parameters
    ----------
    costs : sequence of int
        Of each piece.
    joined : sequence of bool
        Which pieces may not begin or be a run alone: those without rows.
    runs : int

    Returns
    -------
    list of (int, int)
        First piece of each run, and the one after its last.

    Notes
    -----
    Runs rather than any sets of pieces: a run's rows lie together, and come from few chunks.

    Examples
    --------
    >>> from regard.dask._balance import balanced_runs
    >>> balanced_runs([9, 1, 1, 1, 4, 4], [False] * 6, 3)
    [(0, 1), (1, 5), (5, 6)]
    """
    least, most = max(costs, default=0), sum(costs)
    while least < most:
        limit = (least + most) // 2
        if len(_greedy(costs, joined, limit)) <= runs:
            most = limit
        else:
            least = limit + 1
    return _greedy(costs, joined, least)


def _greedy(costs: Sequence[int], joined: Sequence[bool], limit: int) -> list[tuple[int, int]]:
    """Fill one run after the other up to a limit."""
    sizes: list[int] = []
    total, whole = 0, False  # of the last run: its cost, and whether it has rows
    for cost, alone in zip(costs, joined, strict=True):
        if not sizes or (whole and not alone and total + cost > limit):
            sizes.append(0)
            total, whole = 0, False
        sizes[-1] += 1
        total += cost
        whole = whole or not alone
    return list(pairwise([0, *accumulate(sizes)]))
