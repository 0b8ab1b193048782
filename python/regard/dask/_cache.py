"""`DistributedKVCache`: one long sequence, whose keys stay where they are."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._bfloat16 import rounded
from regard._call.core_options import check_names
from regard._call.layout import take_layout
from regard._call.messages import in_the_name_of
from regard._merge import merge_states
from regard.cache import _check
from regard.cache._storage import DTYPES
from regard.dask._grid import Grid, Part, labels_of
from regard.dask._held import Gone
from regard.dask._options import LARGE, PartOptions
from regard.dask._parts import Attend, widened
from regard.dask._problem import check_call, stand_in
from regard.dask._shards import Shards

Array: TypeAlias = NDArray[Any]


class DistributedKVCache(Shards):
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
    >>> key, value = rng.standard_normal((2, 2, 1000, 64), dtype=np.float32)
    >>> query = rng.standard_normal((8, 1, 64), dtype=np.float32)
    >>> with Client(processes=False, n_workers=2, dashboard_address=":0") as client:
    ...     cache = regard.dask.DistributedKVCache(client, 1, 2, 64, shard_tokens=400)
    ...     cache.append(key, value)
    ...     out = cache.attend(query)
    ...     [(start, stop) for start, stop, worker in cache.shards]
    [(0, 400), (400, 800), (800, 1000)]
    >>> out.shape
    (8, 1, 64)
    """

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
        stored = DTYPES[layout.dtype]
        inputs = {
            "query": rows,
            "key": stand_in((*lead, layout.head_dim), stored),
            "value": stand_in((*lead, layout.value_dim), stored),
        }
        scales = ("key_scales", "value_scales") if layout.dtype == "int8" else ()
        check_call(inputs, {**given, **{name: stand_in(lead, np.float32) for name in scales}})
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
        calls: list[tuple[Any, Part, tuple[Any, ...]]] = []
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

    def _none(self, query: Array, options: PartOptions, part: Part) -> tuple[Array, Array]:
        """Return the state over no key, which has the sinks if no shard has them."""
        layout = self._layout
        keys = np.zeros((1, layout.kv_heads, 0, layout.head_dim), query.dtype)
        values = np.zeros((1, layout.kv_heads, 0, layout.value_dim), query.dtype)
        given = {
            name: x for name, x in options.of(part)[0].items() if name in ("sinks", "query_lengths")
        }
        return Attend(("query", "key", "value"), given)(query, keys, values)

    def __enter__(self) -> DistributedKVCache:
        """Return the cache, which is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
