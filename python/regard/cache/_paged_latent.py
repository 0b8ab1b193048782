"""`PagedLatentKVCache`: latent rows of sequences that come and go."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.cache import _check
from regard.cache._paged_attending import PagedAttendingRows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard._call.types import CachedOptions
    from regard.positions import Rope

    Array: TypeAlias = NDArray[Any]


class PagedLatentKVCache(PagedAttendingRows):
    """Latent rows of many sequences, in pages that are taken as they grow.

    What a row is, `LatentKVCache` says; what sequences and pages are, `PagedKVCache`.

    Parameters
    ----------
    pages : int
        All memory is set aside at once.
    page_size : int
        Tokens of a page.
    latent_dim, rope_dim : int
    dtype : {"bfloat16", "float32", "float16", "int8", "float64"}
        What rows are rounded to. int8 rows have a float32 scale each, one for both parts.
    overflow : {"raise", "saturate"}, default "raise"
        What `append` does with a number beyond the range of dtype.

    Raises
    ------
    ValueError, TypeError
        A size is not a whole number of at least 1, or there is no such dtype.

    See Also
    --------
    LatentKVCache : For a batch that stays the same.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> cache = regard.PagedLatentKVCache(pages=8, page_size=16, latent_dim=512, rope_dim=64)
    >>> first, second = cache.allocate(), cache.allocate()
    >>> latent, rope_key = rng.standard_normal((30, 512)), rng.standard_normal((30, 64))
    >>> cache.append([first, second], latent, rope_key, [0, 10, 30])
    >>> normal = lambda shape: rng.standard_normal(shape, dtype=np.float32)
    >>> query, query_rope = normal((2, 128, 512)), normal((2, 128, 64))
    >>> cache.attend([first, second], query, query_rope, scale=192**-0.5).shape
    (2, 128, 512)
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        pages: int,
        page_size: int,
        latent_dim: int,
        rope_dim: int,
        dtype: str = "bfloat16",
        overflow: str = "raise",
    ) -> None:
        call = "PagedLatentKVCache"
        latent_dim = _check.whole(latent_dim, "latent_dim", call, 1)
        head_dim = latent_dim + _check.whole(rope_dim, "rope_dim", call, 1)
        self._set_up(call, pages, page_size, 1, head_dim, latent_dim, dtype, overflow, latent=True)

    @property
    def latent_dim(self) -> int:
        """Columns of a latent vector, and of the output."""
        return self.value_dim

    @property
    def rope_dim(self) -> int:
        """Columns of the key that carries the positions."""
        return self.head_dim - self.value_dim

    @in_the_name_of("append")
    def append(
        self,
        sequences: int | Several[int],
        latent: ArrayLike,
        rope_key: ArrayLike,
        cu_seqlens: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
        rope: Rope | None = None,
    ) -> None:
        """Add tokens to sequences, rounding them to the cache's type.

        Parameters
        ----------
        sequences : int or sequence of int
            No one twice.
        latent : array_like, shape (total, latent_dim)
            Of any float type: those of the first sequence, then those of the next.
        rope_key : array_like, shape (total, rope_dim)
            Of the same type.
        cu_seqlens, tokens
            As of `PagedKVCache.append`.
        rope : Rope, optional
            Turns rope_key by the positions of the tokens, and the query_rope of `attend` by theirs.
            Given with the first tokens, it holds for all; None later on means the same.

        Raises
        ------
        OutOfPages
            There are fewer free pages than needed. Nothing has changed.
        ValueError, TypeError
            An argument does not fit, or a number is beyond the range of the cache's type. Nothing
            has changed.
        """
        parts = [
            self._new_part(latent, "latent", self.latent_dim),
            self._new_part(rope_key, "rope_key", self.rope_dim),
        ]
        rows = _check.joined(parts, ["latent", "rope_key"], "append")[:, np.newaxis]

        def name(at: tuple[int, ...]) -> str:
            return "latent" if at[2] < self.value_dim else "rope_key"

        values = rows[..., : self.value_dim]  # which are not stored again
        self._append_rows(sequences, rows, values, cu_seqlens, tokens, rope, name, name)

    def _new_part(self, array: ArrayLike, name: str, dim: int) -> NDArray[Any]:
        """Check tokens to append: (total, dim)."""
        rows = _check.rows(array, name)
        if rows.ndim != 2 or rows.shape[1] != dim:
            raise ValueError(
                f"append: {name} has shape {rows.shape}.\n  The cache takes (tokens, "
                f"{'latent_dim' if name == 'latent' else 'rope_dim'}={dim})."
            )
        return rows

    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        query_rope: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: Literal[False] = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array: ...
    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        query_rope: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: Literal[True],
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> tuple[Array, Array]: ...
    @overload
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        query_rope: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: bool,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]: ...
    @in_the_name_of("attend")
    def attend(
        self,
        sequences: int | Several[int],
        query: ArrayLike,
        query_rope: ArrayLike,
        cu_seqlens_q: ArrayLike | None = None,
        *,
        return_lse: bool = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]:
        """Attention of the latest tokens of each sequence to all of its tokens.

        Parameters
        ----------
        sequences : int or sequence of int
        query : array_like, shape (total_q, Hq, latent_dim)
            As of `LatentKVCache.attend`: those of the first sequence, then those of the next.
        query_rope : array_like, shape (total_q, Hq, rope_dim)
        cu_seqlens_q : array_like of int, shape (len(sequences) + 1,), optional
            Sequence n has the queries ``cu_seqlens_q[n]`` to ``cu_seqlens_q[n + 1]``. By default,
            each has the same number.
        return_lse : bool, default False
            Also return the logarithm of the softmax denominators.
        out : ndarray, optional
            Written in place; of the shape of the output.
        **options
            As of `PagedKVCache.attend`, but scale must be given, as in `LatentKVCache.attend`.

        Returns
        -------
        out : ndarray, shape (total_q, Hq, latent_dim)
            In the dtype of query.
        lse : ndarray, shape (Hq, total_q)
            Only with return_lse.

        Raises
        ------
        ValueError
            As `PagedKVCache.attend` does; or the shapes of query and query_rope do not fit.
        TypeError
            As `PagedKVCache.attend` does; or there is no scale.
        """
        _check.latent_scale(options)
        queries = [(query, "query"), (query_rope, "query_rope")]
        return self._attend_to(sequences, queries, cu_seqlens_q, return_lse, out, {**options})

    def __repr__(self) -> str:
        more = "" if self.overflow == "raise" else f"overflow={self.overflow!r}, "
        return (
            f"PagedLatentKVCache(pages={self.pages}, page_size={self.page_size}, "
            f"latent_dim={self.latent_dim}, rope_dim={self.rope_dim}, dtype={self.dtype!r}, {more}"
            f"sequences={len(self._sequences.by_handle)}, free_pages={self.free_pages})"
        )
