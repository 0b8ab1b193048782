"""A good call for tests to make bad ones of, and what each message of an error has."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from problems import make_problem

PROBLEM = make_problem(
    np.random.default_rng(3), batch=(2,), heads=8, kv_heads=4, queries=12, keys=10, head_dim=16,
    value_dim=6,
)  # fmt: skip
QUERY, KEY, VALUE = PROBLEM.query, PROBLEM.key, PROBLEM.value


def ones(*shape: int, dtype: Any = bool) -> np.ndarray:
    return np.ones(shape, dtype=dtype)


def check_message(error: BaseException, name: str) -> None:
    """Function and argument on the first line, what to do on those below."""
    first, *others = str(error).split("\n")
    assert re.match(rf"\w+: .*\b{name}\b", first), str(error)
    assert others, str(error)
    assert all(line.startswith("  ") for line in others), str(error)


ARRAYS = [np.ascontiguousarray(x[0].swapaxes(0, 1)) for x in (QUERY, KEY, VALUE)]
CUTS = {"cu_seqlens_q": [0, 5, 12], "cu_seqlens_k": [0, 9, 10]}
