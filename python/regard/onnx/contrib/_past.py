"""Keys and values of the past, with the new ones behind them."""

from __future__ import annotations

import numpy as np

from regard.onnx._inputs import Array, check_float, check_range, check_shape


class Past:
    """Keys and values (batch, heads, length, dim) of past and present.

    Parameters
    ----------
    past_key, past_value : ndarray or None
        As long as the past; or, with `length`, as long as their buffer.
    length : ndarray of int or None
        One number: how much of the buffer is there.
    key, value : ndarray
        The new ones.

    Attributes
    ----------
    length : int
        Of the past.
    keys, values : ndarray
        All of them.
    """

    def __init__(
        self,
        past_key: Array | None,
        past_value: Array | None,
        length: Array | None,
        key: Array,
        value: Array,
    ) -> None:
        self._buffers: list[Array] | None = None
        self.length, self.keys, self.values = 0, key, value
        if past_key is None or past_value is None:
            if length is not None:
                raise ValueError(
                    "attention: past_sequence_length without past_key.\n  Give both, or neither."
                )
            return
        named = {"past_key": (past_key, key), "past_value": (past_value, value)}
        for name, (past, new) in named.items():
            check_float(name, past, "query", new.dtype)
            batch, heads, _, dim = new.shape
            front = (("batch", batch), ("heads", heads))
            check_shape(name, past, *front, ("length", past_key.shape[2]), ("dim", dim))
        if length is None:
            self.length = past_key.shape[2]
            self.keys = np.concatenate((past_key, key), axis=2)
            self.values = np.concatenate((past_value, value), axis=2)
            return
        if length.size != 1:
            raise ValueError(
                f"attention: past_sequence_length has shape {length.shape}.\n  Give one number."
            )
        check_range("past_sequence_length", length, 0, past_key.shape[2] - key.shape[2])
        self.length = int(length.item())
        end = self.length + key.shape[2]
        self._buffers = [past_key.copy(), past_value.copy()]
        for buffer, new in zip(self._buffers, (key, value), strict=True):
            buffer[:, :, self.length : end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)

    def present(self) -> list[Array]:
        """Return keys and values as they are handed on: in whole buffers, if they came in some."""
        return [np.ascontiguousarray(x) for x in self._buffers or (self.keys, self.values)]
