"""`PagedKVCache`: sequences that come and go, in pages that they can share."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._varlen import varlen_attention
from regard.cache import _check
from regard.cache._rotary import choose, first_positions
from regard.cache._sequences import Sequences
from regard.cache._storage import Storage

if TYPE_CHECKING:
    from regard.positions import Rope
    from regard.positions._rotation import Rotation


class PagedKVCache:
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

    Attributes
    ----------
    pages, page_size, kv_heads, head_dim, value_dim : int
    dtype : str

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

    __slots__ = (
        "__weakref__",
        "_rotation",
        "_sequences",
        "_storage",
        "_used",
        "dtype",
        "head_dim",
        "kv_heads",
        "page_size",
        "pages",
        "value_dim",
    )

    def __init__(
        self,
        pages: int,
        page_size: int,
        kv_heads: int,
        head_dim: int,
        dtype: str = "bfloat16",
        value_dim: int | None = None,
    ) -> None:
        call = "PagedKVCache"
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
        self._rotation: Rotation | None = None
        self._used = False  # whether anything has ever been appended

    @property
    def free_pages(self) -> int:
        """Pages that can be taken, those that only a later `allocate` might find included."""
        return self._sequences.pages.free

    @property
    def nbytes(self) -> int:
        """Bytes of keys, values and scales."""
        return self._storage.nbytes

    def length(self, sequence: int) -> int:
        """Tokens of a sequence."""
        return int(self._sequences.lengths[self._sequences.one(sequence, "length").row])

    def allocate(self, tokens: ArrayLike | None = None) -> int:
        """Begin a sequence.

        Parameters
        ----------
        tokens : array_like of int, shape (n,), optional
            Numbers of the tokens that are about to be appended. If a sequence of the past began
            with the same ones, and was appended with ``tokens=``, the new one begins with its
            pages: as many whole ones as agree, without the last token, whose output a model needs.

        Returns
        -------
        int
            The sequence. Its `length` is the number of tokens that need not be appended.

        Raises
        ------
        ValueError, TypeError
            tokens is not a 1-D array of integers.
        """
        numbers = None if tokens is None else _numbers(tokens, "allocate")
        return self._sequences.begin(numbers)

    def fork(self, sequence: int) -> int:
        """Begin a sequence with all the tokens of another; they share pages until they differ.

        Parameters
        ----------
        sequence : int

        Returns
        -------
        int
            The new sequence. An append to either may need a page more, for a copy of the last one.

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        return self._sequences.fork(self._sequences.one(sequence, "fork"))

    def free(self, sequence: int) -> None:
        """End a sequence and give its pages back.

        Pages full of known tokens can still be found by `allocate`, until they are needed.

        Parameters
        ----------
        sequence : int

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        self._sequences.one(sequence, "free")
        self._sequences.end(sequence)

    def truncate(self, sequence: int, length: int) -> None:
        """Keep the first tokens of a sequence and forget the later ones.

        Parameters
        ----------
        sequence : int
        length : int

        Raises
        ------
        ValueError
            There is no such sequence, or it has fewer tokens. Nothing has changed.
        """
        one = self._sequences.one(sequence, "truncate")
        length = _check.whole(length, "length", "truncate", 0)
        if length > self._sequences.lengths[one.row]:
            raise ValueError(
                f"truncate: length is {length}, and sequence {sequence} has "
                f"{self._sequences.lengths[one.row]} tokens.\n  Give at most that."
            )
        self._sequences.cut(one, length)

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
            An argument does not fit. Nothing has changed.
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
        starts, cuts = _cuts(cu_seqlens, total, len(several), "append: cu_seqlens")
        numbers = None if tokens is None else _numbers(tokens, "append", total)
        rotation = choose(self._rotation, rope, self.head_dim, self._used)
        table_rows = np.array([one.row for one in several], np.int64)
        before = self._sequences.lengths[table_rows]
        after = before + cuts
        self._sequences.check_pages(several, before.tolist(), after.tolist())

        positions = np.repeat(before - starts, cuts) + np.arange(total)
        if rotation is not None:
            keys = rotation.turn(keys, positions[:, np.newaxis])
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

    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        **options: Any,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Attention of the latest tokens of each sequence to all of its tokens.

        Parameters
        ----------
        sequences : int or sequence of int
        query : array_like, shape (total_q, Hq, head_dim)
            Those of the first sequence, then those of the next; the last one of each is of its
            last token. Hq is a multiple of kv_heads.
        cu_seqlens_q : array_like of int, shape (len(sequences) + 1,), optional
            Sequence n has the queries ``cu_seqlens_q[n]`` to ``cu_seqlens_q[n + 1]``. By default,
            each has the same number.
        **options
            As of `varlen_attention`, whose pieces are the sequences, but causal is True by default.
            A mask or bias has one entry for each token of the longest sequence in its last axis.

        Returns
        -------
        out : ndarray, shape (total_q, Hq, value_dim)
            In the dtype of query.
        lse : ndarray, shape (Hq, total_q)
            Only with return_lse.

        Raises
        ------
        ValueError, TypeError
            As `varlen_attention` does; or there is no such sequence, or an option is the cache's
            own to give.
        """
        several = self._sequences.look_up(sequences, "attend")
        rows = _check.rows(query, "query")
        if rows.ndim != 3:
            raise ValueError(
                f"attend: query has shape {rows.shape}.\n  Give (queries, heads, "
                f"head_dim={self.head_dim}), one sequence after the other."
            )
        if options:
            _check.refuse_decided(options)
        total = len(rows)
        starts, cuts = _cuts(cu_seqlens_q, total, len(several), "attend: cu_seqlens_q")
        table_rows = np.array([one.row for one in several], np.int64)
        lengths = self._sequences.lengths[table_rows]
        if self._rotation is not None:
            _check.query_dim(rows, self.head_dim)
            first = first_positions(lengths, cuts, options)
            positions = np.repeat(first - starts, cuts) + np.arange(total)
            rows = self._rotation.turn(rows, positions[:, np.newaxis])
        longest = int(lengths.max(initial=0))
        blocks = -(-longest // self.page_size)
        options.setdefault("causal", True)
        _check.widen_masks(options, longest, blocks * self.page_size)
        keys, values, scales = self._storage.by_token()
        options.update(
            block_table=self._sequences.table[table_rows, :blocks], key_lengths=lengths, **scales
        )
        return varlen_attention(rows, keys, values, np.append(starts, total), None, **options)

    def __repr__(self) -> str:
        more = "" if self.value_dim == self.head_dim else f"value_dim={self.value_dim}, "
        return (
            f"PagedKVCache(pages={self.pages}, page_size={self.page_size}, "
            f"kv_heads={self.kv_heads}, head_dim={self.head_dim}, dtype={self.dtype!r}, {more}"
            f"sequences={len(self._sequences.by_handle)}, free_pages={self.free_pages})"
        )

    def __reduce__(self) -> str:
        raise TypeError("PagedKVCache: a cache cannot be pickled.\n  Each process needs its own.")

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


def _numbers(tokens: ArrayLike, call: str, total: int | None = None) -> NDArray[np.int64]:
    array = np.asarray(tokens)
    if not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{call}: tokens has dtype {array.dtype}.\n  Give integers.")
    if array.ndim != 1 or (total is not None and len(array) != total):
        wanted = "a 1-D array" if total is None else f"one for each of the {total} keys"
        raise ValueError(f"{call}: tokens has shape {array.shape}.\n  Give {wanted}.")
    return array.astype(np.int64)


def _cuts(
    cu_seqlens: ArrayLike | None, total: int, pieces: int, what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each piece of a packed array starts, and how long it is."""
    if cu_seqlens is None:
        if total % max(pieces, 1) or (total and not pieces):
            raise ValueError(
                f"{what} is needed for {total} rows and {pieces} sequences.\n  Only where each has "
                "the same number can it be left out."
            )
        count = total // max(pieces, 1)
        return count * np.arange(pieces), np.full(pieces, count)
    cu = np.asarray(cu_seqlens)
    if cu.dtype.kind not in "iu":
        raise TypeError(f"{what} has dtype {cu.dtype}.\n  Give integers.")
    cu = cu.astype(np.int64)
    if cu.shape != (pieces + 1,) or cu[0] != 0 or cu[-1] != total or (np.diff(cu) < 0).any():
        raise ValueError(
            f"{what} is {cu.tolist()}, for {total} rows and {pieces} sequences.\n  Give "
            f"{pieces + 1} numbers that begin at 0, never fall, and end at {total}."
        )
    return cu[:-1], np.diff(cu)
