"""`PagedKVCache`: sequences that come and go, in pages that they can share."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.cache import _check
from regard.cache._packing import handles_of, pieces_of, token_numbers
from regard.cache._paged_attending import PagedAttending
from regard.cache._range import overflow_policy, within
from regard.cache._rotary import choose
from regard.cache._sequences import Sequences
from regard.cache._storage import Storage

if TYPE_CHECKING:
    from regard.positions import Rope


class PagedKVCache(PagedAttending):
    """Keys and values of many sequences, in pages that are taken as they grow.

    Parameters
    ----------
    pages : int
        All memory is set aside at once.
    page_size : int
        Tokens of a page.
    kv_heads, head_dim : int
    dtype : {"bfloat16", "float32", "float16", "int8", "float64"}
        What keys and values are rounded to. int8 rows have a float32 scale each.
    value_dim : int, optional
        Default: head_dim.
    overflow : {"raise", "saturate"}, default "raise"
        What `append` does with a number beyond the range of dtype: refuse it, or store the largest
        number there is. Infinities and NaN that are given are stored, in int8 as a row of NaN.

    Attributes
    ----------
    pages, page_size, kv_heads, head_dim, value_dim : int
    dtype, overflow : str

    Raises
    ------
    ValueError, TypeError
        A size is not a whole number of at least 1, or there is no such dtype.

    See Also
    --------
    KVCache : For a batch that stays the same.

    Notes
    -----
    A sequence is a number that `allocate` or `fork` returns; no two are the same, ever. Pages are
    read where they lie.

    Any number of threads may call `attend` at a time, but none while another method runs. Caches
    cannot be pickled.

    References
    ----------
    .. [1] Kwon, W. et al., "Efficient Memory Management for Large Language Model Serving with
       PagedAttention", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> cache = regard.PagedKVCache(pages=64, page_size=16, kv_heads=2, head_dim=64,
    ...                             dtype="float32")
    >>> first, second = cache.allocate(), cache.allocate()

    A prompt of 10 tokens and one of 20, packed one after the other as for `varlen_attention`:

    >>> key, value = rng.standard_normal((2, 30, 2, 64), dtype=np.float32)
    >>> cache.append([first, second], key, value, [0, 10, 30])
    >>> query = rng.standard_normal((30, 8, 64), dtype=np.float32)
    >>> cache.attend([first, second], query, [0, 10, 30]).shape
    (30, 8, 64)

    The first sequence goes on in two ways, which share its page until they differ:

    >>> other = cache.fork(first)
    >>> key, value = rng.standard_normal((2, 2, 2, 64), dtype=np.float32)
    >>> cache.append([first, other], key, value)
    >>> [cache.length(sequence) for sequence in (first, other, second)]
    [11, 11, 20]
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        pages: int,
        page_size: int,
        kv_heads: int,
        head_dim: int,
        dtype: str = "bfloat16",
        value_dim: int | None = None,
        overflow: str = "raise",
    ) -> None:
        call = "PagedKVCache"
        self.overflow = overflow_policy(overflow, call)
        self.pages = _check.whole(pages, "pages", call, 1)
        self.page_size = _check.whole(page_size, "page_size", call, 1)
        self.kv_heads = _check.whole(kv_heads, "kv_heads", call, 1)
        self.head_dim = _check.whole(head_dim, "head_dim", call, 1)
        self.dtype = _check.dtype_name(dtype, call)
        self.value_dim = self.head_dim
        if value_dim is not None:
            self.value_dim = _check.whole(value_dim, "value_dim", call, 1)
        # Tokens of a head lie next to each other, for the memory's sake.
        lead = (self.pages, self.kv_heads, self.page_size)
        self._storage = Storage(self.dtype, lead, self.head_dim, self.value_dim)
        self._sequences = Sequences(self.pages, self.page_size, self._storage)
        self._rotation = None
        self._used = False  # whether anything has ever been appended

    @in_the_name_of("append")
    def append(
        self,
        sequences: int | Several[int],
        key: ArrayLike,
        value: ArrayLike,
        cu_seqlens: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
        rope: Rope | None = None,
    ) -> None:
        """Add tokens to sequences, rounding them to the cache's type.

        Parameters
        ----------
        sequences : int or sequence of int
            No one twice.
        key : array_like, shape (total, kv_heads, head_dim)
            Of any float type: those of the first sequence, then those of the next.
        value : array_like, shape (total, kv_heads, value_dim)
        cu_seqlens : array_like of int, shape (len(sequences) + 1,), optional
            Sequence n gets the tokens ``cu_seqlens[n]`` to ``cu_seqlens[n + 1]``. By default, each
            gets the same number.
        tokens : array_like of int, shape (total,), optional
            Their numbers, so that later sequences that begin alike can share the pages.
        rope : Rope, optional
            Turns the keys by their positions, and the queries of `attend` by theirs. Given with the
            first tokens, it holds for all; None later on means the same.

        Raises
        ------
        OutOfPages
            There are fewer free pages than needed. Nothing has changed.
        ValueError, TypeError
            An argument does not fit, or a number is beyond the range of the cache's type. Nothing
            has changed.
        """
        several = self._sequences.look_up(sequences, "append")
        if len({one.row for one in several}) < len(several):
            raise ValueError(f"append: sequences is {sequences}.\n  Give each of them once.")
        keys, values = self._new_rows(key, "key"), self._new_rows(value, "value")
        total = len(keys)
        if len(values) != total:
            raise ValueError(
                f"append: key has {total} tokens, value {len(values)}.\n  Give as many of each."
            )
        starts, cuts = pieces_of(cu_seqlens, total, len(several), "append: cu_seqlens")
        numbers = None if tokens is None else token_numbers(tokens, "append", total)
        rotation = choose(self._rotation, rope, self.head_dim, self._used)
        table_rows = np.array([one.row for one in several], np.int64)
        before = self._sequences.lengths[table_rows]
        after = before + cuts
        self._sequences.check_pages(several, before.tolist(), after.tolist())

        positions = np.repeat(before - starts, cuts) + np.arange(total)
        turned = keys
        if rotation is not None:
            with np.errstate(over="ignore"):  # of half precision: `within` looks for it
                turned = rotation.turn(keys, positions[:, np.newaxis])
        ends = starts + cuts

        def place(at: tuple[int, ...]) -> str:
            piece = int(np.searchsorted(ends, at[0], side="right"))
            token = at[0] - starts[piece]
            return f"sequence {handles_of(sequences)[piece]}, head {at[1]}, token {token}"

        dtype, overflow = self.dtype, self.overflow
        keys = within(turned, keys, dtype, overflow, lambda at: f"key of {place(at)}")
        values = within(values, values, dtype, overflow, lambda at: f"value of {place(at)}")
        blocks, slots = np.divmod(positions, self.page_size)
        try:
            for one, start, end in zip(several, before.tolist(), after.tolist(), strict=True):
                if end > start:
                    self._sequences.make_room(one, start, end)
            pages = self._sequences.table[np.repeat(table_rows, cuts), blocks]
            self._storage.scatter(keys, values, pages, slots)
        except BaseException:  # no memory, or a key pressed: pages without tokens are given back
            for one, start in zip(several, before.tolist(), strict=True):
                self._sequences.cut(one, start)
            raise
        self._sequences.lengths[table_rows] = after
        self._rotation = rotation
        self._used = self._used or total > 0
        if numbers is not None:
            for one, length, start, count in zip(several, before, starts, cuts, strict=True):
                one.know(
                    length, numbers[start : start + count], self.page_size, self._sequences.pages
                )

    def _new_rows(self, array: ArrayLike, name: str) -> NDArray[Any]:
        """Check tokens to append: (total, kv_heads, dim)."""
        rows = _check.rows(array, name)
        dim = self.head_dim if name == "key" else self.value_dim
        if rows.ndim != 3 or rows.shape[1:] != (self.kv_heads, dim):
            raise ValueError(
                f"append: {name} has shape {rows.shape}.\n  The cache takes (tokens, kv_heads="
                f"{self.kv_heads}, {'head_dim' if name == 'key' else 'value_dim'}={dim})."
            )
        return rows
