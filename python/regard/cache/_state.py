"""What a contiguous cache consists of: memory, lengths, rotation, and all three in a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.cache._file import File
from regard.cache._layout import Layout
from regard.cache._range import overflow_policy
from regard.cache._ring import Ring
from regard.cache._storage import Storage
from regard.positions._rotation import Rotation

_ALL = slice(None)


class State:
    """Slots, and how many of them count. What is written here is written to the file as well.

    Parameters
    ----------
    layout : Layout
    buffer : ndarray of uint8, optional
    call : str
        For messages.
    overflow : {"raise", "saturate"}
        What to do with numbers beyond the range of the storage type.
    """

    __slots__ = ("file", "highest", "layout", "lengths", "overflow", "ring", "rotation", "same",
                 "storage")  # fmt: skip

    def __init__(
        self, layout: Layout, buffer: NDArray[np.uint8] | None, call: str, overflow: str
    ) -> None:
        self.layout = layout
        self.overflow = overflow_policy(overflow, call)
        self.file = None if buffer is None else File(buffer, layout, call)
        memory = None if self.file is None else self.file.data
        self.storage = Storage(
            layout.dtype, layout.lead, layout.head_dim, layout.value_dim, memory, layout.latent
        )
        self.ring: Ring | None = None
        if layout.window is not None:
            self.ring = Ring(layout.capacity, layout.window, layout.sink_tokens)
        lengths = highest = np.zeros(layout.batch, np.int64)
        self.rotation: Rotation | None = None
        if self.file is not None:
            lengths, highest = self.file.read_lengths(call)
            if lengths.any():  # else there are no keys that it could be of
                self.rotation = self.file.read_rotation(call)
        self.highest = highest  # that each length has been: tells what a ring has overwritten
        self._adopt(lengths)

    def write(
        self,
        key: NDArray[Any],
        value: NDArray[Any],
        after: NDArray[np.int64],
        rotation: Rotation | None,
    ) -> None:
        """Append so many tokens to each batch element that it has `after`."""
        before = self.lengths
        self._begin(after, rotation)
        for element, (start, end) in enumerate(zip(before.tolist(), after.tolist(), strict=True)):
            self._write(slice(element, element + 1), key, value, start, end)
        self.set_lengths(after)

    def write_alike(
        self, key: NDArray[Any], value: NDArray[Any], rotation: Rotation | None
    ) -> None:
        """Append all tokens to all batch elements, which are of one length."""
        start, count = self.same, key.shape[2]
        after = self.lengths + count
        self._begin(after, rotation)
        self._write(_ALL, key, value, start, start + count)
        self.set_lengths(after, start + count)

    def _begin(self, after: NDArray[np.int64], rotation: Rotation | None) -> None:
        if rotation is not self.rotation or (self.file is not None and self.same == 0):
            self.remember(rotation)
        if self.ring is not None:
            self.set_highest(np.maximum(self.highest, after))

    def _write(
        self, batch: slice, key: NDArray[Any], value: NDArray[Any], start: int, end: int
    ) -> None:
        """Put tokens where they belong."""
        if self.ring is None:
            count = end - start
            if count < key.shape[2] or batch != _ALL:
                key, value = key[batch, :, :count], value[batch, :, :count]
            self.storage.write(key, value, (batch, _ALL, slice(start, end)))
            return
        for tokens, slots in self.ring.runs(start, end):
            at = (batch, _ALL, slots)
            self.storage.write(key[batch, :, tokens], value[batch, :, tokens], at)

    def copy(self, source: State, elements: NDArray[np.int64]) -> None:
        """Take over the tokens of another cache."""
        for mine, other in enumerate(elements.tolist()):
            slots = slice(int(source.lengths[other]))  # no token is in a slot behind its number
            self.storage.copy((mine, _ALL, slots), source.storage, (other, _ALL, slots))
        self.remember(source.rotation)
        self.set_highest(source.highest[elements])
        self.set_lengths(source.lengths[elements])

    def remember(self, rotation: Rotation | None) -> None:
        """Note how the keys are turned."""
        self.rotation = rotation
        if self.file is not None:
            self.file.write_rotation(rotation)

    def set_highest(self, highest: NDArray[np.int64]) -> None:
        """Give up what is about to be overwritten."""
        self.highest = highest
        if self.file is not None:
            self.file.write_highest(highest)

    def set_lengths(self, lengths: NDArray[np.int64], same: int | None = None) -> None:
        """Count tokens that have been written, or no longer count some."""
        if self.file is not None:
            self.file.write_lengths(lengths)
        self._adopt(lengths, same)

    def _adopt(self, lengths: NDArray[np.int64], same: int | None = None) -> None:
        if same is None:
            first = int(lengths[0])
            same = first if (lengths == first).all() else -1
        self.lengths = lengths
        self.same = same  # the length of all batch elements, or -1

    def check_writeable(self, call: str) -> None:
        """Refuse to change a file that was opened for reading."""
        if self.file is not None and not self.file.writeable:
            raise ValueError(
                f"{call}: the buffer of the cache is read-only.\n  Open the file with mode='r+', "
                "or fork the cache."
            )
