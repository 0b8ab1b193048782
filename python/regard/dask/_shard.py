"""What a worker holds of a `DistributedKVCache`: a `KVCache`, in memory or in a file of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from distributed import get_worker
from numpy.typing import NDArray

from regard.cache import KVCache
from regard.dask._parts import Attend, State

Array: TypeAlias = NDArray[Any]

_ALL = slice(None)


@dataclass(frozen=True)
class Sizes:
    """Arguments of a `KVCache`."""

    batch: int
    kv_heads: int
    head_dim: int
    capacity: int
    dtype: str
    value_dim: int
    overflow: str

    def cache(self, buffer: NDArray[np.uint8] | None) -> KVCache:
        """Make or open one."""
        return KVCache(
            self.batch, self.kv_heads, self.head_dim, self.capacity, self.dtype, self.value_dim,
            buffer=buffer, overflow=self.overflow,
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of its file."""
        return KVCache.nbytes_for(
            self.batch, self.kv_heads, self.head_dim, self.capacity, self.dtype, self.value_dim
        )


class Shard:
    """Tokens that follow each other; an actor, of which there is one on one worker.

    Parameters
    ----------
    sizes : Sizes
    path : str, optional
        File to lie in.
    key, value : ndarray, optional
        Its first tokens.
    expected : int, optional
        Open the file, which has to hold so many tokens; those after them are dropped.
    """

    def __init__(
        self,
        sizes: Sizes,
        path: str | None = None,
        key: Array | None = None,
        value: Array | None = None,
        expected: int | None = None,
    ) -> None:
        self._path = path
        buffer = None
        if path is not None:
            # A mode that makes a file would make an empty one of what is lost.
            mode: Any = "w+" if expected is None else "r+"
            if expected is None:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            buffer = np.memmap(path, np.uint8, mode, shape=(sizes.nbytes,))
        self._cache = sizes.cache(buffer)
        if key is not None and value is not None:
            self._cache.append(key, value)
        if expected is not None:
            if self.length() < expected:
                raise ValueError(f"{path} holds {self.length()} tokens, not {expected}")
            self.truncate(expected)

    def address(self) -> str:
        """Where it is."""
        address: str = get_worker().address
        return address

    def length(self) -> int:
        """How many tokens it has."""
        return int(self._cache.lengths[0])

    def append(self, key: Array, value: Array) -> int:
        """Add tokens; return how many there are."""
        self._cache.append(key, value)
        return self.length()

    def truncate(self, length: int) -> int:
        """Drop the tokens after the first ones."""
        self._cache.truncate(length)
        return self.length()

    def attend(self, task: Attend, query: Array, *large: Array) -> State:
        """Return the state of queries over its tokens."""
        state = self._cache._state
        keys, values, scales = state.storage.at((_ALL, _ALL, slice(self.length())))
        named = replace(task, names=(*task.names, *scales))
        return named(query, keys, values, *large, *scales.values())

    def remove(self) -> None:
        """Delete its file."""
        if self._path is not None and os.path.exists(self._path):
            os.remove(self._path)
