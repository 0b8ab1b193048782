"""Where packed pieces begin, and how long they are: the numbers that come with a packed batch."""

from __future__ import annotations

from operator import index

import numpy as np
import torch
from numpy.typing import NDArray

from regard.flash_attn._tensors import integers

Numbers = NDArray[np.int64]


def pieces(
    function: str,
    starts: dict[str, torch.Tensor],
    longest: dict[str, int],
    totals: tuple[int, int | None],
) -> tuple[tuple[Numbers, Numbers], tuple[int, int]]:
    """Read and check cumulative lengths and longest lengths.

    Parameters
    ----------
    function : str
    starts, longest : dict of str to Tensor and int
        By the names of the arguments: one for queries and one for keys, or one for both.
    totals : (int, int or None)
        How many queries and keys there are; None is any number.

    Returns
    -------
    starts : (ndarray, ndarray)
        Of queries and keys, shape (batch + 1,).
    room : (int, int)
        The longest lengths, as they were given.

    Raises
    ------
    TypeError, ValueError
    """
    read = [
        _starts(function, name, x, total)
        for (name, x), total in zip(starts.items(), totals, strict=False)
    ]
    first, last = read[0], read[-1]
    if len(first) != len(last):
        raise ValueError(
            f"{function}: {' and '.join(starts)} are of {len(first) - 1} and {len(last) - 1} "
            "pieces.\n  Give both for the same batch."
        )
    room = [
        _longest(function, name, value, begin)
        for (name, value), begin in zip(longest.items(), read, strict=True)
    ]
    return (first, last), (room[0], room[-1])


def _starts(function: str, name: str, x: torch.Tensor, total: int | None) -> NDArray[np.int64]:
    """Where pieces begin, and the total, checked."""
    starts = integers(function, name, x, ("batch + 1",))
    falls = len(starts) == 0 or starts[0] != 0 or bool((np.diff(starts) < 0).any())
    if falls or total not in (None, starts[-1]):
        end = "" if total is None else f", and end at {total}, the number of rows"
        shown = ", ".join(map(str, starts[:8])) + (", ..." if len(starts) > 8 else "")
        raise ValueError(
            f"{function}: {name} is [{shown}].\n  It must begin at 0, never fall{end}."
        )
    return starts


def _longest(function: str, name: str, value: int, starts: NDArray[np.int64]) -> int:
    """Return the room for a piece, checked: on a GPU, what is longer would not be computed."""
    try:
        room = index(value)
    except TypeError:
        raise TypeError(f"{function}: {name} is {value!r}.\n  Give a whole number.") from None
    longest = int(np.diff(starts).max(initial=0))
    if room < longest:
        raise ValueError(
            f"{function}: {name} is {room}, and a piece has {longest}.\n  Give the length of the "
            "longest piece, or more."
        )
    return room
