"""A ring of slots: the sinks, then the later tokens, each in the place of the one it pushes out.

With s sinks, R slots behind them and window w, token j lies in slot j if j < s, and else in slot
``s + (j - s) % R``. The query at position p sees sinks j <= p and tokens ``p - w <= j <= p``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class Ring:
    """Where tokens lie, and which are still there.

    Parameters
    ----------
    capacity, window, sinks : int
    """

    __slots__ = ("capacity", "sinks", "size", "window")

    def __init__(self, capacity: int, window: int, sinks: int) -> None:
        self.capacity = capacity
        self.window = window
        self.sinks = sinks
        self.size = capacity - sinks

    def runs(self, start: int, end: int) -> Iterator[tuple[slice, slice]]:
        """Yield which of the tokens from start to end go where, without those pushed out again."""
        if start < self.sinks:
            stop = min(end, self.sinks)
            yield slice(0, stop - start), slice(start, stop)
        token = max(start, self.sinks, end - self.size)
        while token < end:
            slot = (token - self.sinks) % self.size
            count = min(end - token, self.size - slot)
            first = self.sinks + slot
            yield slice(token - start, token - start + count), slice(first, first + count)
            token += count

    def kept(self, length: int, highest: int) -> NDArray[np.int64]:
        """Return the slots of the tokens that have not been overwritten, in their order."""
        oldest = max(highest - self.size, self.sinks)
        later = (np.arange(oldest, length) - self.sinks) % self.size + self.sinks
        return np.concatenate((np.arange(min(length, self.sinks)), later))

    def oldest(self, highest: NDArray[np.int64]) -> NDArray[np.int64]:
        """First token behind the sinks that has not been overwritten."""
        return np.maximum(highest - self.size, self.sinks)

    def may_keep(self, lengths: NDArray[np.int64], highest: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether what the token behind the first `lengths` ones sees is all there."""
        needed = np.maximum(lengths - self.window, self.sinks)
        return (lengths <= self.sinks) | (needed >= self.oldest(highest))

    def positions(self, lengths: NDArray[np.int64], slots: int) -> NDArray[np.int64]:
        """Tell the token in each slot behind the sinks, (batch, slots - sinks).

        Where there is none, a number below that of the first token behind the sinks.
        """
        last = lengths[:, np.newaxis] - 1
        return last - (last - self.sinks - np.arange(slots - self.sinks)) % self.size
