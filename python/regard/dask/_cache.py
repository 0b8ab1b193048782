"""`DistributedKVCache`: one long sequence, whose keys stay where they are."""

from __future__ import annotations

import os
from typing import Any, TypeAlias
from uuid import uuid4

import dask.array as da
import numpy as np
from distributed import Client
from numpy.typing import ArrayLike, NDArray

from regard._bfloat16 import rounded
from regard._call.core_options import check_names
from regard._call.layout import take_layout
from regard._call.messages import in_the_name_of
from regard._merge import merge_states
from regard.cache import _check
from regard.cache._layout import Layout as CacheLayout
from regard.cache._range import overflow_policy
from regard.dask._grid import Grid, labels_of
from regard.dask._held import Gone, HeldShard
from regard.dask._options import LARGE, PartOptions
from regard.dask._parts import Attend, widened
from regard.dask._problem import check_call, stand_in
from regard.dask._shard import Sizes

Array: TypeAlias = NDArray[Any]


class DistributedKVCache:
    """Keys and values of one long sequence, in shards on the workers of a cluster.

    A query is sent to all shards that it sees, and each sends a state back: KiB, whatever the
    length. Keys are never moved.

    Parameters
    ----------
    client : distributed.Client
    batch, kv_heads, head_dim : int
    shard_tokens : int, default 65536
        Tokens of a shard. The last one takes what is appended; when it is full, another is made,
        on the worker that Dask finds has the fewest.
    dtype : {"bfloat16", "float32", "float16", "int8", "float64"}
        What keys and values are rounded to, as in `regard.KVCache`.
    value_dim : int, optional
        Default: head_dim.
    directory : str, optional
        Folder on the workers' disks: each shard lies in a memory-mapped file in it, and outlives
        its worker. Without it, shards are in memory.
    overflow : {"raise", "saturate"}, default "raise"
        As of `regard.KVCache`.

    Raises
    ------
    ValueError, TypeError
        A size does not fit.

    See Also
    --------
    regard.KVCache : On one machine.
    attention : Of dask arrays, for many queries.

    Notes
    -----
    Results are bitwise the same for any number of workers with CPUs of one instruction set: the
    shards alone decide.

    When a worker is lost, its shards with a file are opened by another worker of that machine, or
    by any that can read the file, the next time they are needed. A shard without a file raises
    `LostTokens`, which names its tokens, in every call that would need them; `truncate` drops them
    and what comes after. Nothing is left out silently.

    One client uses a cache, from one thread. The shards are actors of Dask.

    Examples
    --------
    >>> import numpy as np
    >>> import regard.dask
    >>> from distributed import Client
    >>> rng = np.random.default_rng(0)
    >>> key, value = rng.standard_normal((2, 2, 1000, 64))
    >>> with Client(processes=False, n_workers=2, dashboard_address=None) as client:
    ...     cache = regard.dask.DistributedKVCache(client, 1, 2, 64, shard_tokens=400)
    ...     cache.append(key, value)
    ...     out = cache.attend(rng.standard_normal((8, 1, 64)))
    ...     [(start, stop) for start, stop, worker in cache.shards]
    [(0, 400), (400, 800), (800, 1000)]
    >>> out.shape
    (8, 1, 64)
    """

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

    @in_the_name_of("attend")
    def attend(
        self, query: ArrayLike, *, return_lse: bool = False, **options: Any
    ) -> Array | tuple[Array, Array]:
        """Attention of the latest tokens to all tokens of the cache.

        Parameters
        ----------
        query : array_like, shape (batch, Hq, Sq, D)
            The last query is of the last token that was appended; without the first axis if batch
            is 1. Hq is a multiple of kv_heads.
        return_lse : bool, default False
            Also return the logarithm of the softmax denominators.
        **options
            As of `regard.KVCache.attend` without a window, causal by default. A mask or bias has
            one entry for each token in its last axis, and shards get their own.

        Returns
        -------
        out : ndarray, shape (batch, Hq, Sq, value_dim)
            In the dtype of query.
        lse : ndarray, shape (batch, Hq, Sq)
            Only with return_lse.

        Raises
        ------
        ValueError, TypeError
            As `regard.KVCache.attend` does.
        LostTokens
            Tokens that a query sees were on a worker that is gone, without a file.
        """
        check_names("attend", options)
        _check.refuse_decided(options)
        given = {name: x for name, x in options.items() if x is not None}
        order = take_layout(given)
        rows = _check.rows(query, "query")
        if order is not None:
            rows = order.by_head(rows, "query")
        layout = self._layout
        one = rows.ndim == 3 and layout.batch == 1
        rows = rows[np.newaxis] if one else rows
        if rows.ndim != 4:
            raise ValueError(
                f"attend: query has shape {np.shape(query)}.\n  Give (batch={layout.batch}, heads, "
                f"queries, head_dim={layout.head_dim})."
            )
        given = {name: np.asarray(x) if name in LARGE else x for name, x in given.items()}
        given.setdefault("causal", True)
        lengths = np.full(layout.batch, len(self))
        _check.queries_have_tokens(rows.shape[2], lengths, given, "batch element {}".format)
        lead = (layout.batch, layout.kv_heads, len(self))
        kept = np.float64 if rows.dtype == np.float64 else np.float32
        keys = {"key": (*lead, layout.head_dim), "value": (*lead, layout.value_dim)}
        stands = {name: stand_in(shape, kept) for name, shape in keys.items()}
        check_call({"query": rows, **stands}, given)
        out, lse = self._merged(rows, given)
        out, lse = (out[0], lse[0]) if one else (out, lse)
        out = out if order is None else order.as_given(out)
        return (out, lse) if return_lse else out

    def _merged(self, query: Array, given: dict[str, Any]) -> tuple[Array, Array]:
        """Send queries to the shards that they see, and merge what comes back in their order."""
        counts = tuple(shard.count for shard in self._shards) or (0,)
        batch, heads, queries = query.shape[:3]
        kv_heads = self._layout.kv_heads
        grid = Grid(
            {
                -1: (batch,), "heads": (heads,), "kv_heads": (kv_heads,), "queries": (queries,),
                "keys": counts,
            },
            max(1, heads // kv_heads),
        )  # fmt: skip
        options = PartOptions(given, grid)
        (output,) = grid.outputs()
        wide = widened(query)
        calls = []
        for number, shard in enumerate(self._shards):
            part = grid.with_keys(output, number, not calls)
            if options.sees(part):
                task = Attend(("query", "key", "value", *options.large), *options.of(part))
                large = [part.cut(x, labels_of(n, x.ndim)) for n, x in options.large.items()]
                calls.append((shard, part, ("attend", task, wide, *large)))
        begun = []
        for shard, _, call in calls:
            try:
                begun.append(shard.begin(*call))
            except Gone:
                begun.append(None)
        states = [self._none(wide, options, grid.with_keys(output, 0, not calls))]
        for (shard, part, call), pending in zip(calls, begun, strict=True):
            try:
                if pending is None:
                    raise Gone
                states.append(shard.finish(pending))
            except Gone:
                states.append(shard.call(part.ranges["keys"].start, *call))
        out, lse = merge_states(*zip(*states, strict=True))
        return rounded(out, query.dtype), lse

    def _none(self, query: Array, options: PartOptions, part: Any) -> tuple[Array, Array]:
        """Return the state over no key, which has the sinks if no shard has them."""
        layout = self._layout
        keys = np.zeros((1, layout.kv_heads, 0, layout.head_dim), query.dtype)
        values = np.zeros((1, layout.kv_heads, 0, layout.value_dim), query.dtype)
        given = {
            name: x for name, x in options.of(part)[0].items() if name in ("sinks", "query_lengths")
        }
        return Attend(("query", "key", "value"), given)(query, keys, values)

    def close(self) -> None:
        """Give up all shards, and delete their files."""
        while self._shards:
            self._shards.pop().release()
        self._open = False

    def __enter__(self) -> DistributedKVCache:
        """Return the cache, which is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
