"""What a `KVCache` tells of itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regard.cache._state import State


class Described:
    """The attributes of a contiguous cache."""

    __slots__ = ("_state",)

    _state: State

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each batch element, those that a window has overwritten included; (batch,)."""
        lengths: NDArray[np.int64] = self._state.lengths.copy()
        return lengths

    @property
    def batch(self) -> int:
        """Number of batch elements."""
        return self._state.layout.batch

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self._state.layout.kv_heads

    @property
    def head_dim(self) -> int:
        """Features of a key."""
        return self._state.layout.head_dim

    @property
    def value_dim(self) -> int:
        """Features of a value."""
        return self._state.layout.value_dim

    @property
    def capacity(self) -> int:
        """Tokens that a batch element has room for."""
        return self._state.layout.capacity

    @property
    def dtype(self) -> str:
        """What keys and values are rounded to."""
        return self._state.layout.dtype

    @property
    def window(self) -> int | None:
        """How many tokens before it a token sees."""
        return self._state.layout.window

    @property
    def sink_tokens(self) -> int:
        """How many tokens at the beginning stay visible for ever."""
        return self._state.layout.sink_tokens

    @property
    def overflow(self) -> str:
        """What becomes of numbers beyond the range of `dtype`."""
        return self._state.overflow

    @property
    def nbytes(self) -> int:
        """Bytes of keys, values and scales."""
        return self._state.storage.nbytes

    def __repr__(self) -> str:
        layout = self._state.layout
        more = ", ".join(
            f"{name}={value!r}"
            for name, value, default in (
                ("value_dim", layout.value_dim, layout.head_dim),
                ("window", layout.window, None),
                ("sink_tokens", layout.sink_tokens, 0),
                ("overflow", self._state.overflow, "raise"),
            )
            if value != default
        )
        return (
            f"KVCache(batch={layout.batch}, kv_heads={layout.kv_heads}, "
            f"head_dim={layout.head_dim}, capacity={layout.capacity}, dtype={layout.dtype!r}, "
            f"{more + ', ' if more else ''}lengths={self._state.lengths.tolist()})"
        )

    def __reduce__(self) -> str:
        raise TypeError(
            f"{type(self).__name__}: a cache cannot be pickled.\n  Give another process the file "
            "of a cache with buffer=np.memmap(...); copy one with fork()."
        )
