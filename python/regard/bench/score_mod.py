"""The function of scores whose price is measured: s / (1 + |s| / 30), compiled and in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

_BOUND = 30


def of_arrays(scores: Any, batch: Any, head: Any, query: Any, key: Any) -> Any:
    """Compute it for the oracle; it does not depend on the place."""
    return scores / (1 + np.abs(scores) / _BOUND)


def compiled() -> Any:
    """Compile it by Numba, for float32."""
    from numba import cfunc, float32, int64, types  # an extra

    @cfunc(types.void(types.CPointer(float32), *[int64] * 5, types.voidptr))  # type: ignore[no-untyped-call,unused-ignore]
    def rows(scores, count, query, first, head, batch, user):  # type: ignore[no-untyped-def]
        for n in range(count):
            scores[n] = scores[n] / (float32(1) + abs(scores[n]) * float32(1 / _BOUND))

    return rows
