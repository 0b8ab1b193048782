"""`KVCache`: one row of slots for each batch element, filled from the front."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._attention import attention
from regard.cache import _check
from regard.cache._described import Described
from regard.cache._file import read_layout
from regard.cache._layout import Layout
from regard.cache._ring_attend import attend as attend_to_ring
from regard.cache._rotary import MOVES, choose, first_positions
from regard.cache._state import State

if TYPE_CHECKING:
    from regard.positions import Rope

_ALL = slice(None)


class KVCache(Described):
    """Keys and values of the tokens so far, for generating one token after the other.

    Parameters
    ----------
    batch, kv_heads, head_dim : int
    capacity : int
        Tokens that each batch element has room for. All memory is set aside at once.
    dtype : {"bfloat16", "float32", "float16", "int8", "float64"}
        What keys and values are rounded to. int8 rows have a float32 scale each.
    value_dim : int, optional
        Default: head_dim.
    window : int, optional
        Each token sees this many tokens before it, and itself. Older ones are overwritten, so that
        any number of tokens may be appended: the buffer is a ring.
    sink_tokens : int, default 0
        With a window: so many tokens at the beginning stay visible for ever, as in StreamingLLM.
    buffer : ndarray of uint8, optional
        Memory to lie in, e.g. an `np.memmap`, of at least `nbytes_for` bytes. Zeros become a new
        cache; one that holds a cache made with the same arguments is opened, with its tokens.

    Raises
    ------
    ValueError
        A size does not fit, or buffer is too small or holds something else.
    TypeError
        A size is not a whole number, or buffer not of uint8.

    See Also
    --------
    PagedKVCache : For many sequences that come and go, or share what they begin with.

    Notes
    -----
    Under a window, all options that depend on positions (RoPE, ALiBi, position biases) count the
    tokens that are visible: sinks, then the window, without the gap between them, as StreamingLLM
    does. From any token, the distance to another in the window is the true one, and that to sink j
    is at most ``sink_tokens + window - j``.

    Any number of threads may call `attend` at a time, but none while another method runs. Caches
    cannot be pickled: give another process the buffer, or `fork`.

    References
    ----------
    .. [1] Xiao, G. et al., "Efficient Streaming Language Models with Attention Sinks", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> cache = regard.KVCache(batch=1, kv_heads=2, head_dim=64, capacity=512, dtype="float32")
    >>> key, value = rng.standard_normal((2, 2, 10, 64), dtype=np.float32)  # a prompt of 10 tokens
    >>> cache.append(key, value)
    >>> cache.attend(rng.standard_normal((8, 10, 64), dtype=np.float32)).shape
    (8, 10, 64)
    >>> key, value = rng.standard_normal((2, 2, 1, 64), dtype=np.float32)  # and another one
    >>> cache.append(key, value)
    >>> cache.attend(rng.standard_normal((8, 1, 64), dtype=np.float32)).shape
    (8, 1, 64)
    >>> cache
    KVCache(batch=1, kv_heads=2, head_dim=64, capacity=512, dtype='float32', lengths=[11])
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: str = "bfloat16",
        value_dim: int | None = None,
        window: int | None = None,
        sink_tokens: int = 0,
        buffer: NDArray[np.uint8] | None = None,
    ) -> None:
        layout = Layout.checked(
            "KVCache", batch, kv_heads, head_dim, capacity, dtype, value_dim, window, sink_tokens
        )
        self._state = State(layout, buffer, "KVCache")

    @classmethod
    def open(cls, buffer: NDArray[np.uint8]) -> KVCache:
        """Open the cache that a buffer holds.

        Parameters
        ----------
        buffer : ndarray of uint8
            May be read-only, as ``np.memmap(path, mode="r")`` is, for `attend` alone.

        Returns
        -------
        KVCache

        Raises
        ------
        ValueError
            buffer holds no cache, or one that is damaged or was shortened.
        TypeError
            buffer is not of uint8.
        """
        cache = cls.__new__(cls)
        call = "KVCache.open"
        cache._state = State(read_layout(buffer, call), buffer, call)
        return cache

    @staticmethod
    def nbytes_for(
        batch: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: str = "bfloat16",
        value_dim: int | None = None,
        window: int | None = None,
        sink_tokens: int = 0,
    ) -> int:
        """Bytes that a buffer for such a cache needs; arguments as for the cache.

        Examples
        --------
        >>> import regard
        >>> regard.KVCache.nbytes_for(batch=1, kv_heads=8, head_dim=128, capacity=100_000) / 1e6
        409.604096
        """
        return Layout.checked(
            "KVCache.nbytes_for", batch, kv_heads, head_dim, capacity, dtype, value_dim, window,
            sink_tokens,
        ).nbytes  # fmt: skip

    def append(
        self,
        key: ArrayLike,
        value: ArrayLike,
        rope: Rope | None = None,
        lengths: ArrayLike | None = None,
    ) -> None:
        """Add tokens, rounding them to the cache's type.

        Parameters
        ----------
        key : array_like, shape (batch, kv_heads, n, head_dim)
            Of any float type; without the first axis if batch is 1.
        value : array_like, shape (batch, kv_heads, n, value_dim)
        rope : Rope, optional
            Turns the keys by their positions, and the queries of `attend` by theirs, before they
            are rounded. Given with the first tokens, it holds for all; None later on means the
            same.
        lengths : array_like of int, shape (batch,), optional
            How many of the n tokens each batch element gets, the first ones; by default all.

        Raises
        ------
        ValueError
            A shape does not fit, there is no room, rope is another one than before, or buffer is
            read-only. Nothing has changed.
        TypeError
            An argument is of a type that is not supported. Nothing has changed.

        Notes
        -----
        With a window, any number of tokens may be appended; `attend` then tells if it needs some
        that they have overwritten.
        """
        state, layout = self._state, self._state.layout
        keys, values = self._new_rows(key, "key"), self._new_rows(value, "value")
        count: int = keys.shape[2]
        if values.shape[2] != count:
            raise ValueError(
                f"append: key has {count} tokens, value {values.shape[2]}.\n  Give as many of each."
            )
        same = state.same if lengths is None else -1  # the length of all, the fast case
        after = state.lengths
        if same < 0:
            after = after + (
                count
                if lengths is None
                else _check.counts(
                    lengths, "lengths", "append", layout.batch, count, "the tokens of key"
                )
            )
        if state.ring is None and (same + count if same >= 0 else after.max()) > layout.capacity:
            element = int(after.argmax())
            more = count if same >= 0 else after[element] - state.lengths[element]
            raise ValueError(
                f"append: batch element {element} has {state.lengths[element]} tokens, and no room "
                f"for {more} more.\n  capacity={layout.capacity}\n  Make a cache with a larger "
                "capacity, or truncate this one."
            )
        rotation = choose(state.rotation, rope, layout.head_dim, state.same != 0)
        state.check_writeable("append")
        if rotation is not None:
            keys = (
                rotation.turn_from(keys, state.same)
                if state.same >= 0
                else rotation.turn(
                    keys, state.lengths[:, np.newaxis, np.newaxis] + np.arange(count)
                )
            )
        if same >= 0:
            state.write_alike(keys, values, rotation)
        else:
            state.write(keys, values, after, rotation)

    def attend(
        self, query: ArrayLike, **options: Any
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Attention of the latest tokens to all tokens of the cache.

        Parameters
        ----------
        query : array_like, shape (batch, Hq, Sq, D)
            The last query is of the last token that was appended; without the first axis if batch
            is 1. Hq is a multiple of kv_heads.
        **options
            As of `regard.attention`, but causal is True by default. After an append with
            ``lengths=n``, give ``query_lengths=n``. A mask or bias has one entry for each token of
            the longest batch element in its last axis. With a window, there are only scale,
            query_scale, softcap, similarity, alibi_slopes, position_bias, sinks, query_lengths,
            return_lse, out and num_threads.

        Returns
        -------
        out : ndarray, shape (batch, Hq, Sq, value_dim)
            In the dtype of query.
        lse : ndarray, shape (batch, Hq, Sq)
            Only with return_lse.

        Raises
        ------
        ValueError
            As `regard.attention` does; or a token that a query should see has been overwritten.
        TypeError
            As `regard.attention` does; or an option makes no sense here.
        """
        rows = _check.rows(query, "query")
        if options:
            _check.refuse_decided(options)
        result: NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
        if rows.ndim == 3 and self.batch == 1:
            out: NDArray[Any] | None = options.get("out")
            if isinstance(out, np.ndarray):
                options["out"] = out[np.newaxis]
            result = self._attend(rows[np.newaxis], options)
            if isinstance(result, tuple):
                return (result[0][0] if out is None else out), result[1][0]
            return result[0] if out is None else out
        if rows.ndim != 4:
            axes = "heads" if self.batch == 1 else f"batch={self.batch}, heads"
            raise ValueError(
                f"attend: query has shape {rows.shape}.\n  Give ({axes}, queries, "
                f"head_dim={self.head_dim})."
            )
        result = self._attend(rows, options)
        return result

    def _attend(self, query: NDArray[Any], options: dict[str, Any]) -> Any:
        """Attention of query (batch, Hq, Sq, D)."""
        state, rotation, count = self._state, self._state.rotation, query.shape[2]
        if rotation is not None:
            _check.query_dim(query, self.head_dim)
        if state.ring is not None:
            return attend_to_ring(
                state.ring, state.storage, state.lengths, state.highest, rotation, query, options
            )
        longest = state.same
        if rotation is not None:
            if longest >= 0 and not options.keys() & MOVES:
                query = rotation.turn_from(query, longest - count)
            else:
                first = first_positions(state.lengths, count, options)
                query = rotation.turn(query, first[:, np.newaxis, np.newaxis] + np.arange(count))
        if count != 1 or "query_offset" in options:  # the latest token sees everything
            options.setdefault("causal", True)
        if longest < 0:
            options["key_lengths"] = state.lengths
            longest = int(state.lengths.max())
        keys, values, scales = state.storage.at((_ALL, _ALL, slice(longest)))
        if scales:
            options.update(scales)
        return attention(query, keys, values, **options)

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

    def fork(
        self, indices: ArrayLike | None = None, buffer: NDArray[np.uint8] | None = None
    ) -> KVCache:
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
        copy._state = State(replace(layout, batch=len(chosen)), buffer, "fork")
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

    def _new_rows(self, array: ArrayLike, name: str) -> NDArray[Any]:
        """Check tokens to append: (batch, kv_heads, n, dim)."""
        rows = _check.rows(array, name)
        layout = self._state.layout
        dim = layout.head_dim if name == "key" else layout.value_dim
        if rows.ndim == 3 and layout.batch == 1:
            rows = rows[np.newaxis]
        shape = rows.shape
        if len(shape) != 4 or (shape[0], shape[1], shape[3]) != (
            layout.batch,
            layout.kv_heads,
            dim,
        ):
            raise ValueError(
                f"append: {name} has shape {np.shape(array)}.\n  The cache takes (batch="
                f"{layout.batch}, kv_heads={layout.kv_heads}, tokens, "
                f"{'head_dim' if name == 'key' else 'value_dim'}={dim})."
            )
        return rows
