"""Caches of GroupQueryAttention: one buffer for a batch, in which elements are of any length."""

from __future__ import annotations

import numpy as np

from regard.onnx._inputs import Array, check_float, check_range, check_shape


class Buffer:
    """Where the keys of each batch element end, and where its new ones go.

    Parameters
    ----------
    key, value : ndarray, shape (batch, heads, new, dim)
    past_key, past_value : ndarray or None, shape (batch, heads, room, dim)
    seqlens_k : ndarray of int, shape (batch,) or (batch, 1)
        Keys of each element, minus one.
    total_sequence_length : ndarray of int, one number
        The most of them.

    Attributes
    ----------
    total : int
    lengths, past : ndarray of int64, shape (batch,)
        Keys of each element, and how many of them were there before.
    """

    def __init__(
        self,
        key: Array,
        value: Array,
        past_key: Array | None,
        past_value: Array | None,
        seqlens_k: Array,
        total_sequence_length: Array,
    ) -> None:
        batch, heads, new, dim = key.shape
        if total_sequence_length.size != 1 or total_sequence_length.dtype.kind not in "iu":
            raise ValueError(
                f"attention: total_sequence_length has dtype {total_sequence_length.dtype}, shape "
                f"{total_sequence_length.shape}.\n  Give one whole number."
            )
        self.total = int(total_sequence_length.item())
        self._past = {"past_key": past_key, "past_value": past_value}
        room = 0 if past_key is None else past_key.shape[2]
        for name, past in self._past.items():
            if past is not None:
                check_float(name, past, "query", key.dtype)
                front = (("batch", batch), ("heads", heads))
                check_shape(name, past, *front, ("length", room), ("dim", dim))
        if self.total < new or (past_key is None and self.total > new):
            raise ValueError(
                f"attention: total_sequence_length is {self.total}, with {new} new keys and room "
                f"for {room} earlier ones."
            )
        if seqlens_k.shape == (batch, 1):
            seqlens_k = seqlens_k[:, 0]
        check_shape("seqlens_k", seqlens_k, ("batch", batch))
        prompt = new == self.total
        # Of a prompt, what is behind an element's tokens is padding; later all new keys count.
        least = 0 if prompt else new - 1
        check_range("seqlens_k", seqlens_k, least, self.total - 1)
        self.lengths = seqlens_k.astype(np.int64) + 1
        self.past = np.zeros(batch, np.int64) if prompt else self.lengths - new
        if self.past.max(initial=0) > room:
            raise ValueError(
                f"attention: seqlens_k holds {seqlens_k.max()}, with {new} new keys and past_key "
                f"of {room}.\n  Give keys minus one, new ones among them."
            )
        self._room = max(self.total, room)

    def positions(self, queries: int, given: Array | None) -> Array:
        """Of the new tokens, (batch, queries): behind the past, if they are not given.

        Of those of a prompt, the first number alone counts.
        """
        if given is None:
            return self.past[:, np.newaxis] + np.arange(queries)
        if queries == self.total and given.size:
            return np.broadcast_to(given.flat[0] + np.arange(queries), (len(self.past), queries))
        return given

    def write(self, key: Array) -> Array:
        """All keys, (batch, heads, room, dim), 0 behind those of an element."""
        return self._written("past_key", key)

    def write_values(self, value: Array) -> Array:
        """All values."""
        return self._written("past_value", value)

    def _written(self, name: str, new: Array) -> Array:
        batch, heads, count, dim = new.shape
        present = np.zeros((batch, heads, self._room, dim), new.dtype)
        past = self._past[name]
        for element, first in enumerate(self.past):
            if past is not None:
                present[element, :, :first] = past[element, :, :first]
            present[element, :, first : first + count] = new[element]
        return present
