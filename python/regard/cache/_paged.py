"""`PagedKVCache`: sequences that come and go, in pages that they can share."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.cache import _check
from regard.cache._paged_attending import PagedAttending

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
        self._set_up(
            "PagedKVCache", pages, page_size, kv_heads, head_dim, value_dim, dtype, overflow
        )

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
        keys, values = self._new_rows(key, "key"), self._new_rows(value, "value")
        if len(values) != len(keys):
            raise ValueError(
                f"append: key has {len(keys)} tokens, value {len(values)}.\n  Give as many of each."
            )
        self._append_rows(
            sequences,
            keys,
            values,
            cu_seqlens,
            tokens,
            rope,
            lambda at: "key",
            lambda at: "value",
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
