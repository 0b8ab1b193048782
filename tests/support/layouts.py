"""The same values in other memory layouts: each function returns an array equal to what it gets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _with_axes_moved(x: np.ndarray) -> np.ndarray:
    """(..., length, heads, dim) in memory, seen as (..., heads, length, dim)."""
    if x.ndim < 3:
        return np.asfortranarray(x)
    return np.ascontiguousarray(x.swapaxes(-3, -2)).swapaxes(-3, -2)


def _reversed(x: np.ndarray) -> np.ndarray:
    """Negative strides on every axis."""
    flip = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[flip])[flip]


def _padded(x: np.ndarray) -> np.ndarray:
    """Rows further apart than they are long."""
    wide = np.full((*x.shape[:-1], x.shape[-1] + 3), 7, dtype=x.dtype)
    wide[..., 1:-2] = x
    return wide[..., 1:-2]


def _every_third(x: np.ndarray) -> np.ndarray:
    """A last axis whose stride is not one element."""
    wide = np.full((*x.shape[:-1], 3 * x.shape[-1]), 7, dtype=x.dtype)
    wide[..., ::3] = x
    return wide[..., ::3]


def _last_axis_reversed(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def _unaligned(x: np.ndarray) -> np.ndarray:
    """Contiguous, beginning at an odd address."""
    store = bytearray(x.nbytes + 1)
    view = np.frombuffer(store, dtype=x.dtype, offset=1, count=x.size).reshape(x.shape)
    view[...] = x
    return view


def _field(x: np.ndarray) -> np.ndarray:
    """A field of a packed record: every stride is odd, none a multiple of the item's size."""
    records = np.zeros(x.shape, dtype=np.dtype([("tag", np.int8), ("x", x.dtype)]))
    records["x"] = x
    return records["x"]


def _row_field(x: np.ndarray) -> np.ndarray:
    """Rows as fields of packed records: unit last axis, odd strides elsewhere."""
    row = np.dtype([("tag", np.int8), ("row", x.dtype, (x.shape[-1],))])
    records = np.zeros(x.shape[:-1], dtype=row)
    records["row"] = x
    return records["row"]


def _readonly(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "axes moved": _with_axes_moved,
    "Fortran": np.asfortranarray,
    "reversed": _reversed,
    "padded": _padded,
    "every third": _every_third,
    "last axis reversed": _last_axis_reversed,
    "unaligned": _unaligned,
    "field": _field,
    "row field": _row_field,
    "read-only": _readonly,
}
