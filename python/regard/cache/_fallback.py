"""TEMPORARY stand-in for _core.store."""

from __future__ import annotations
from typing import Any
import numpy as np
from numpy.typing import NDArray


def store(source: NDArray[Any], target: NDArray[Any], scales: NDArray[Any] | None) -> None:
    if scales is None:
        target[...] = source
        return
    x = source.astype(np.float32)
    scale = np.abs(x).max(-1) / np.float32(127)
    scales[...] = scale
    with np.errstate(all="ignore"):
        q = np.rint(x / scale[..., None])
    target[...] = np.where(scale[..., None] == 0, 0, q)


try:
    import ml_dtypes

    bfloat16 = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    bfloat16 = np.dtype([("bfloat16", "<u2")])
