"""Shards of a `DistributedKVCache`: how tokens get into them, and out of them again."""

from __future__ import annotations

import os
from typing import Any, TypeAlias
from uuid import uuid4

import dask.array as da
import numpy as np
from distributed import Client
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.cache import _check
from regard.cache._layout import Layout as CacheLayout
from regard.cache._range import overflow_policy
from regard.dask._held import HeldShard
from regard.dask._problem import stand_in
from regard.dask._shard import Sizes

Array: TypeAlias = NDArray[Any]


class Shards:
    """Keys and values of a sequence over workers, without attention to them."""

    def __init__(
        self,
        client: Client,
        batch: int,
        kv_heads: int,
        head_dim: int,
        shard_tokens: int = 65536,
        dtype: str = "bfloat16",
        value_dim: int | None = None,
        directory: str | None = None,
        overflow: str = "raise",
    ) -> None:
        call = "DistributedKVCache"
        _check.whole(shard_tokens, "shard_tokens", call, 1)
        layout = CacheLayout.checked(
            call, batch, kv_heads, head_dim, shard_tokens, dtype, value_dim, None, 0
        )
        self._client, self._layout = client, layout
        self._overflow = overflow_policy(overflow, call)
        self._directory = None if directory is None else os.fspath(directory)
        self._name = uuid4().hex
        self._made = 0
        self._open = False  # whether the last shard takes more tokens
        self._shards: list[HeldShard] = []

    def __len__(self) -> int:
        """Return the number of tokens."""
        return sum(shard.count for shard in self._shards)

    @property
    def shards(self) -> list[tuple[int, int, str]]:
        """Of each shard its tokens, from start to before stop, and its worker."""
        stops = np.cumsum([shard.count for shard in self._shards]).tolist()
        return [
            (stop - shard.count, stop, shard.address)
            for stop, shard in zip(stops, self._shards, strict=True)
        ]

    def __repr__(self) -> str:
        layout = self._layout
        return (
            f"DistributedKVCache(batch={layout.batch}, kv_heads={layout.kv_heads}, head_dim="
            f"{layout.head_dim}, dtype={layout.dtype!r}, tokens={len(self)}, shards="
            f"{len(self._shards)})"
        )

    @in_the_name_of("append")
    def append(self, key: ArrayLike | da.Array, value: ArrayLike | da.Array) -> None:
        """Add tokens, rounding them to the cache's type.

        Parameters
        ----------
        key : array_like or dask.array.Array, shape (batch, kv_heads, n, head_dim)
            Without the first axis if batch is 1. NumPy's is sent to the last shard, and to new
            ones. Each chunk of a dask array, which is cut along n alone, becomes a shard on the
            worker that computes it, and does not pass through the client.
        value : array_like or dask.array.Array, shape (batch, kv_heads, n, value_dim)

        Raises
        ------
        ValueError
            A shape or chunks do not fit, or a number is beyond the range of the cache's type. The
            tokens are those of before.
        TypeError
            An argument is of a type that is not supported.
        LostTokens
            The last shard was on a worker that is gone.
        """
        before = len(self)
        try:
            if isinstance(key, da.Array) or isinstance(value, da.Array):
                self._append_chunks(key, value)
            else:
                self._append_rows(key, value)
        except BaseException:
            if len(self) > before:
                self.truncate(before)
            raise

    def _append_rows(self, key: ArrayLike, value: ArrayLike) -> None:
        keys = self._layout.new_rows(key, "key")
        values = self._layout.new_rows(value, "value")
        if keys.shape[2] != values.shape[2]:
            raise ValueError(
                f"append: key has {keys.shape[2]} tokens, value {values.shape[2]}.\n  Give as many "
                "of each."
            )
        done = 0
        while done < keys.shape[2]:
            if not self._open or self._shards[-1].count == self._layout.capacity:
                self._shards.append(self._new(self._layout.capacity))
                self._shards[-1].wait()
                self._open = True
            shard = self._shards[-1]
            some = slice(done, done + self._layout.capacity - shard.count)
            rows = np.ascontiguousarray(keys[:, :, some]), np.ascontiguousarray(values[:, :, some])
            shard.count = shard.call(len(self) - shard.count, "append", *rows)
            done = some.stop

    def _append_chunks(self, key: Any, value: Any) -> None:
        arrays = {"key": key, "value": value}
        for name, x in arrays.items():
            if not isinstance(x, da.Array):
                raise TypeError(
                    f"append: {name} is a {type(x).__name__}, and the other a dask array.\n  Give "
                    "two of a kind."
                )
            self._layout.new_rows(stand_in(x.shape, x.dtype), name)
            cut = [axis for axis in range(x.ndim) if axis != x.ndim - 2 and x.numblocks[axis] > 1]
            if cut:
                raise ValueError(
                    f"append: {name} has chunks {x.chunks}.\n  Shards are cut along the tokens "
                    f"alone: {name}.rechunk({{{', '.join(f'{axis}: -1' for axis in cut)}}})."
                )
        if key.chunks[-2] != value.chunks[-2]:
            raise ValueError(
                f"append: key and value are cut into other chunks of tokens.\n  key    "
                f"{key.chunks[-2]}\n  value  {value.chunks[-2]}\n  Give them the same."
            )
        counts = [count for count in key.chunks[-2] if count]
        blocks = [
            [
                block
                for block, count in zip(x.to_delayed().ravel(), x.chunks[-2], strict=True)
                if count
            ]
            for x in arrays.values()
        ]
        made = []
        for count, *rows in zip(counts, *map(self._client.compute, blocks), strict=True):
            made.append(self._new(count, *rows))
        self._open = False
        try:
            for shard in made:
                shard.wait()
        except BaseException:
            for shard in made:
                shard.release()
            raise
        self._shards.extend(made)

    def _new(self, capacity: int, *rows: Any) -> HeldShard:
        layout = self._layout
        sizes = Sizes(
            layout.batch, layout.kv_heads, layout.head_dim, capacity, layout.dtype,
            layout.value_dim, self._overflow,
        )  # fmt: skip
        path = None
        if self._directory is not None:
            path = os.path.join(self._directory, f"{self._name}-{self._made}.kv")
        self._made += 1
        return HeldShard(self._client, sizes, path, *rows)

    def truncate(self, length: int) -> None:
        """Drop the tokens after the first ones, lost ones among them.

        Parameters
        ----------
        length : int
            How many are kept.

        Raises
        ------
        ValueError
            There are not so many.
        LostTokens
            The shard that has to be cut was on a worker that is gone.
        """
        _check.whole(length, "length", "truncate", 0)
        if length > len(self):
            raise ValueError(
                f"truncate: length is {length}.\n  Give at most {len(self)}, the tokens there are."
            )
        while self._shards and len(self) - self._shards[-1].count >= length:
            self._shards.pop().release()
            self._open = False
        if len(self) > length:
            shard = self._shards[-1]
            start = len(self) - shard.count
            shard.count = shard.call(start, "truncate", length - start)

    def close(self) -> None:
        """Give up all shards, and delete their files."""
        while self._shards:
            self._shards.pop().release()
        self._open = False
