"""Numbers beyond the range of a storage type: found before anything is written.

Only numbers that are finite, and would not be after rounding, are beyond it. Infinities and NaN
that were given are stored as they are; an int8 row that holds one is NaN, as `quantize_kv` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._bfloat16 import is_bfloat16, narrowed, widened

_OF_SOURCE = {char: float(np.finfo(char).max) for char in "efd"}
LARGEST = {
    "float16": _OF_SOURCE["e"],
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float32": _OF_SOURCE["f"],
    # 127 times the largest scale; the next one is that of float32's largest number, and too much.
    "int8": float(np.nextafter(np.float32(_OF_SOURCE["f"]), np.float32(0))),
    "float64": _OF_SOURCE["d"],
}
# Says which number it is, given its index.
Place = Callable[[tuple[int, ...]], str]


def overflow_policy(value: Any, call: str) -> str:
    """Return what to do with numbers beyond the range."""
    if not (isinstance(value, str) and value in ("raise", "saturate")):
        raise ValueError(f"{call}: overflow is {value!r}.\n  Give 'raise' or 'saturate'.")
    return value


def within(
    rows: NDArray[Any],
    given: NDArray[Any],
    dtype: str,
    overflow: str,
    place: Place,
    counts: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Return rows (..., dim) that the storage type can hold.

    Parameters
    ----------
    rows : ndarray
        What is about to be rounded.
    given : ndarray
        The same before a rotation; rows itself if there is none.
    dtype : str
        The storage type.
    overflow : {"raise", "saturate"}
    place : callable
        Names a number by its index, for messages.
    counts : ndarray of int64, optional
        How many tokens of each batch element will be stored, of rows (batch, heads, n, dim).

    Raises
    ------
    ValueError
        A number is beyond the range, and overflow is "raise".
    """
    if _certainly_within(rows, given, dtype):
        return rows
    numbers = widened(rows) if is_bfloat16(rows.dtype) else rows
    kept = _rounded(numbers, dtype)
    beyond = ~np.isfinite(kept) & _finite(rows, given)
    if counts is not None:
        stored = np.arange(rows.shape[2]) < counts[:, np.newaxis]
        beyond &= stored[:, np.newaxis, :, np.newaxis]
    if not beyond.any():
        return rows
    largest, limiting = LARGEST[dtype], dtype
    if rows is not given and _largest(rows.dtype) < largest:  # which the rotation itself has left
        largest = _largest(rows.dtype)
        limiting = "bfloat16" if is_bfloat16(rows.dtype) else rows.dtype.name
    if overflow == "saturate":
        limits = np.copysign(numbers.dtype.type(largest), numbers)
        result: NDArray[Any] = np.where(beyond, limits, numbers)
        return result
    index = tuple(np.argwhere(beyond)[0].tolist())
    raise ValueError(
        f"append: {place(index)} is {float(numbers[index])}, beyond {limiting}'s largest number "
        f"{largest:.6g}.\n  Make the cache of a dtype with a larger range, or with "
        "overflow='saturate', which stores the largest number."
    )


def _certainly_within(rows: NDArray[Any], given: NDArray[Any], dtype: str) -> bool:
    """Whether a quick look says that all numbers fit; False where it cannot tell."""
    of_source, largest = _largest(rows.dtype), LARGEST[dtype]
    if not rows.size or (of_source <= largest and rows is given):
        return True
    if is_bfloat16(rows.dtype):
        rows = widened(rows)
    largest = min(largest, of_source)
    if rows.flags.c_contiguous:  # then finding where they are is quicker than max and min
        flat = rows.reshape(-1)
        most, least = flat.item(flat.argmax()), flat.item(flat.argmin())
    else:
        most, least = rows.max(), rows.min()
    return bool(most <= largest and least >= -largest)  # neither if there is a NaN


def _rounded(numbers: NDArray[Any], dtype: str) -> NDArray[Any]:
    """As the storage will have them, but that int8 is taken as the largest of their row."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == "float64":
            return numbers
        narrow = numbers.astype(np.float32)
        if dtype == "int8":
            return np.where(np.abs(narrow) > LARGEST["int8"], np.inf, narrow)
        if dtype == "float16":
            return narrow.astype(np.float16)
        return widened(narrowed(narrow)) if dtype == "bfloat16" else narrow


def _finite(rows: NDArray[Any], given: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a number was finite when it was given; turned ones are made of two of their row."""
    finite: NDArray[np.bool_] = np.isfinite(widened(given) if is_bfloat16(given.dtype) else given)
    return finite if rows is given else np.asarray(finite.all(axis=-1, keepdims=True))


def _largest(dtype: np.dtype[Any]) -> float:
    return _OF_SOURCE.get(dtype.char) or LARGEST["bfloat16"]
