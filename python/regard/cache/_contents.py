"""What a `KVCache` holds: read back, shortened, copied."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.cache import _check
from regard.cache._described import Described
from regard.cache._state import State

Cache = TypeVar("Cache", bound="Contents")

_ALL = slice(None)


class Contents(Described):
    """The methods of a contiguous cache by which no new numbers come in."""

    __slots__ = ()

    def keys(self) -> NDArray[Any]:
        """Return the keys as they are stored: rounded, and turned by the rope if there is one.

        Returns
        -------
        ndarray of float32, shape (batch, kv_heads, tokens, head_dim)
            A copy; float64 of a float64 cache. Tokens are those of the longest batch element, and
            zeros stand behind the `lengths` of the others. With a window, they are those that have
            not been overwritten: the sinks, and then the last ones.

        Examples
        --------
        >>> import numpy as np
        >>> import regard
        >>> cache = regard.KVCache(batch=1, kv_heads=1, head_dim=2, capacity=8, dtype="int8")
        >>> cache.append([[[1.0, 0.5]]], [[[3.0, 4.0]]])
        >>> cache.keys()
        array([[[[1.      , 0.503937]]]], dtype=float32)
        """
        return self._read("keys")

    def values(self) -> NDArray[Any]:
        """Return the values as they are stored, rounded.

        Returns
        -------
        ndarray of float32, shape (batch, kv_heads, tokens, value_dim)
            As for `keys`.
        """
        return self._read("values")

    def _read(self, name: str) -> NDArray[Any]:
        state = self._state
        if state.ring is None and state.same >= 0:
            return state.storage.numbers(name, (_ALL, _ALL, slice(state.same)))
        parts = []
        for element, length in enumerate(state.lengths.tolist()):
            ring = state.ring
            slots = slice(length) if ring is None else ring.kept(length, state.highest[element])
            of_one = slice(element, element + 1)  # a number would move the axis of the slots
            parts.append(state.storage.numbers(name, (of_one, _ALL, slots))[0])
        first = parts[0]
        tokens = max(part.shape[1] for part in parts)
        shape = (len(parts), first.shape[0], tokens, first.shape[2])
        numbers: NDArray[Any] = np.zeros(shape, first.dtype)
        for row, part in zip(numbers, parts, strict=True):
            row[:, : part.shape[1]] = part
        return numbers

    def truncate(self, lengths: ArrayLike) -> None:
        """Keep the first tokens and forget the later ones, e.g. guesses that were wrong.

        Parameters
        ----------
        lengths : int or array_like of int, shape (batch,)
            How many tokens to keep of each batch element.

        Raises
        ------
        ValueError
            More than there are; or, with a window, a token that the next one should see has been
            overwritten. Nothing has changed.
        TypeError
            lengths are not integers. Nothing has changed.
        """
        state = self._state
        before, ring, highest = state.lengths, state.ring, state.highest
        after = _check.counts(
            lengths, "lengths", "truncate", len(before), before, "the tokens that it has"
        )
        state.check_writeable("truncate")
        if ring is not None:
            kept = ring.may_keep(after, highest) | (after == before)
            for element in np.flatnonzero(~kept)[:1]:
                raise ValueError(
                    f"truncate: {after[element]} tokens of batch element {element} are to be kept, "
                    f"and those before {ring.oldest(highest)[element]} have been overwritten.\n"
                    f"  The next token would see {ring.window} before it; a larger capacity keeps "
                    "more."
                )
        state.set_lengths(after)
        if ring is not None:
            state.set_highest(np.where(after <= ring.sinks, after, highest))

    def clear(self) -> None:
        """Forget all tokens, and the rope; the memory stays.

        Raises
        ------
        ValueError
            buffer is read-only.
        """
        self._state.check_writeable("clear")
        self.truncate(0)
        self._state.remember(None)

    def fork(
        self: Cache, indices: ArrayLike | None = None, buffer: NDArray[np.uint8] | None = None
    ) -> Cache:
        """Copy the cache, or some of its batch elements, e.g. the beams that go on.

        Parameters
        ----------
        indices : array_like of int, shape (n,), optional
            Batch elements of the copy, in its order; one may come more than once.
        buffer : ndarray of uint8, optional
            Memory for the copy, all zeros; by default ordinary memory.

        Returns
        -------
        KVCache
            Of the same capacity. It has its own tokens from now on.

        Raises
        ------
        ValueError
            There is no such batch element, or buffer is too small or not empty.
        """
        layout = self._state.layout
        chosen = np.arange(layout.batch)
        if indices is not None:
            chosen = _check.elements(indices, layout.batch)
        copy = type(self).__new__(type(self))
        copy._state = State(
            replace(layout, batch=len(chosen)), buffer, "fork", self._state.overflow
        )
        if copy._state.lengths.any():
            raise ValueError(
                f"fork: buffer holds a cache of {copy.lengths.tolist()} tokens.\n  Give zeros."
            )
        copy._state.copy(self._state, chosen)
        return copy

    def flush(self) -> None:
        """Have a memory-mapped file written to its disk, as `np.memmap.flush` does.

        What has been appended survives the process without it, but not a power cut.
        """
        if self._state.file is not None:
            self._state.file.flush()
