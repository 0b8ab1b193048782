"""The options whose price is measured: what a case is called with, and its oracle's part of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

import regard
from regard.bench import score_mod
from regard.bench.case import TILE, Case, block_tiles


def draw(case: Case, rng: np.random.Generator) -> dict[str, Any]:
    """Draw the keyword arguments that an option stands for.

    Parameters
    ----------
    case : Case
    rng : numpy.random.Generator

    Returns
    -------
    dict
        Empty for a case without an option.
    """

    def numbers(*shape: int) -> Any:
        return rng.standard_normal(shape, dtype=np.dtype(case.dtype).type)

    if case.option == "softcap":
        return {"softcap": 30.0}
    if case.option == "alibi":
        return {"alibi_slopes": regard.alibi_slopes(case.heads)}
    if case.option == "sinks":
        return {"sinks": numbers(case.heads)}
    if case.option == "dropout":
        return {"dropout": 0.1, "seed": int(rng.integers(2**63))}
    if case.option == "t5":
        # Buckets and their reach are those of T5's decoders.
        table = numbers(32, case.heads)
        return {"position_bias": regard.bias.T5(table, bidirectional=False, max_distance=128)}
    if case.option == "relative":
        return {"position_bias": regard.bias.Relative(numbers(2 * 128 + 1, case.heads))}
    if case.option == "cosine":
        return {"similarity": "cosine", "scale": 10.0}
    if case.option == "score-mod":
        return {"score_mod": score_mod.compiled()}
    if case.option == "blocks":
        return {"mask": _random_blocks(case, rng)}
    return {}


def of_heads(options: dict[str, Any], heads: Sequence[int]) -> dict[str, Any]:
    """Cut out the part of drawn options that concerns some of the heads."""
    part = dict(options)
    for name in ("alibi_slopes", "sinks"):
        if name in part:
            part[name] = part[name][heads]
    if "score_mod" in part:  # what calls for a part is the oracle
        part["score_mod"] = score_mod.of_arrays
    if "position_bias" in part:
        part["position_bias"] = copy.copy(part["position_bias"])
        part["position_bias"].table = part["position_bias"].table[:, heads]
    return part


def _random_blocks(case: Case, rng: np.random.Generator) -> regard.BlockMask:
    """Full tiles in random places, as many in each head, one in each row of tiles at least."""
    rows = case.length // TILE
    tiles = block_tiles(case.length, case.density)
    planes = case.batch * case.heads
    seen = np.zeros((planes, rows, rows), dtype=bool)
    for plane in seen:
        plane[np.arange(rows), rng.integers(rows, size=rows)] = True
        empty = np.flatnonzero(~plane)
        plane.flat[rng.choice(empty, tiles - rows, replace=False)] = True
    _, _, columns = np.nonzero(seen)
    return regard.BlockMask(
        (case.batch, case.heads, case.length, case.length),
        indptr=np.concatenate(([0], np.cumsum(seen.sum(axis=-1)))),
        indices=columns,
        partial=np.full(columns.size, -1),
        tiles=np.zeros((0, TILE, TILE // 8), dtype=np.uint8),
        block_size=TILE,
    )
