"""Problems in chunks, and what has to hold of any way to cut them."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

# Of float32, at 1.
UNIT = 2.0**-23
# What merging may change, in units at the largest value: the bound of the documentation.
MERGING = 2

HEADS, KV_HEADS, QUERIES, KEYS, DIM = 4, 2, 100, 130, 16
#: Chunks of query, and of key and value, by what they are.
CUTS = {
    "whole": ((2, 4, 100, -1), (2, 2, 130, -1)),
    "keys": ((2, 4, 100, -1), (2, 2, 40, -1)),
    "queries": ((2, 4, (30, 40, 30), -1), (2, 2, 130, -1)),
    "batch and heads": ((1, 2, 100, -1), (1, 1, 130, -1)),
    "within a group of heads": ((2, 1, 50, -1), (2, 1, 65, -1)),
    "everything": ((1, 2, (1, 60, 39), -1), (1, 1, (50, 1, 49, 30), -1)),
}


def make_inputs(rng: np.random.Generator, dtype: Any) -> dict[str, np.ndarray]:
    """Query, key and value of two batch elements and grouped heads."""
    shapes = {
        "query": (2, HEADS, QUERIES, DIM),
        "key": (2, KV_HEADS, KEYS, DIM),
        "value": (2, KV_HEADS, KEYS, 8),
    }
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def cut(inputs: dict[str, np.ndarray], how: str) -> dict[str, da.Array]:
    """The same as dask arrays."""
    of_query, of_keys = CUTS[how]
    return {
        name: da.from_array(x, of_query if name == "query" else of_keys, name=False)
        for name, x in inputs.items()
    }


def options(rng: np.random.Generator, dtype: Any = np.float32) -> dict[str, dict[str, Any]]:
    """Options of such a call, by what they try."""
    import regard

    mask = rng.random((QUERIES, KEYS)) < 0.5
    mask[:40] = False
    return {
        "plain": {},
        "causal": {"causal": True},
        "upper left": {"causal": "upper_left"},
        "window": {"window": (10, 3)},
        "window of heads": {"causal": True, "window": np.array([3, -1, 5, 6])},
        "dropout": {"causal": True, "dropout": 0.3, "seed": 2**40 + 5},
        "sinks": {"sinks": np.arange(4.0)},
        "alibi": {"alibi_slopes": rng.random((2, 4))},
        "offsets": {"query_offset": np.array([-30, 7]), "causal": True, "sinks": np.arange(4.0)},
        "lengths": {"key_lengths": [60, 130], "query_lengths": [20, 90], "causal": True},
        "mask": {"mask": mask},
        "mask of dask": {"mask": da.from_array(mask, (33, 17))},
        "bias": {"bias": rng.standard_normal((4, QUERIES, KEYS)).astype(dtype)},
        "bias of keys": {"bias": rng.standard_normal((2, 1, 1, KEYS)).astype(dtype)},
        "padding": {"key_mask": np.arange(KEYS) > np.array([[3], [60]]), "causal": True},
        "T5": {"position_bias": regard.bias.T5(rng.standard_normal((32, 4)))},
        "per head": {"scale": rng.random(4), "softcap": np.arange(1, 5.0)},
        "cosine": {"query_scale": rng.random((4, QUERIES)), "similarity": "cosine"},
    }


NAMES = tuple(options(np.random.default_rng(0)))


def computed(given: dict[str, Any]) -> dict[str, Any]:
    """The same for a call on one machine."""
    return {name: x.compute() if isinstance(x, da.Array) else x for name, x in given.items()}


def tasks(x: da.Array, name: str) -> int:
    """How many tasks of a name there are for an array."""
    return sum(str(key).startswith(f"('{name}-") for key in x.__dask_graph__())
