"""`LatentKVCache`: one latent row for each token, for the absorbed form of latent attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.cache import _check
from regard.cache._appending import append_rows
from regard.cache._attending import AttendingRows
from regard.cache._file import read_layout
from regard.cache._latent_rows import checked_layout, new_part
from regard.cache._state import State

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard._call.types import CachedOptions
    from regard.positions import Rope

    Array: TypeAlias = NDArray[Any]


class LatentKVCache(AttendingRows):
    """Latent rows of the tokens so far, as DeepSeek-V2's attention (MLA) caches them.

    A row is a latent vector, from which the keys and values of all heads are made, and one key that
    carries the positions. Queries that have taken in the matrix that makes keys of latent vectors
    attend to the rows as they are: `latent_dim` + `rope_dim` columns are the key of one head that
    all query heads share, and the first `latent_dim` of them its value. No row is kept twice.

    Parameters
    ----------
    batch, latent_dim, rope_dim : int
    capacity : int
        Tokens that each batch element has room for. All memory is set aside at once.
    dtype : {"bfloat16", "float32", "float16", "int8", "float64"}
        What rows are rounded to. int8 rows have a float32 scale each, one for both parts.
    window, sink_tokens, buffer
        As of `KVCache`; `nbytes_for` tells how many bytes a buffer needs.
    overflow : {"raise", "saturate"}, default "raise"
        What `append` does with a number beyond the range of dtype.

    Raises
    ------
    ValueError
        A size does not fit, or buffer is too small or holds something else.
    TypeError
        A size is not a whole number, or buffer not of uint8.

    See Also
    --------
    PagedLatentKVCache : For many sequences that come and go.
    KVCache : Keys and values of every head.

    References
    ----------
    .. [1] DeepSeek-AI, "DeepSeek-V2: A Strong, Economical, and Efficient Mixture-of-Experts
       Language Model", 2024, section 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> cache = regard.LatentKVCache(batch=1, latent_dim=512, rope_dim=64, capacity=100)
    >>> rope = regard.positions.Rope(interleaved=True)
    >>> cache.append(rng.standard_normal((10, 512)), rng.standard_normal((10, 64)), rope)
    >>> normal = lambda shape: rng.standard_normal(shape, dtype=np.float32)
    >>> query, query_rope = normal((128, 1, 512)), normal((128, 1, 64))
    >>> cache.attend(query, query_rope, scale=192**-0.5).shape  # of heads of 128 + 64 columns
    (128, 1, 512)
    >>> cache.nbytes // cache.capacity  # bytes a token; those of 128 heads would have 81920
    1152
    """

    __slots__ = ("__weakref__",)

    def __init__(
        self,
        batch: int,
        latent_dim: int,
        rope_dim: int,
        capacity: int,
        dtype: str = "bfloat16",
        window: int | None = None,
        sink_tokens: int = 0,
        buffer: NDArray[np.uint8] | None = None,
        overflow: str = "raise",
    ) -> None:
        layout = checked_layout(
            "LatentKVCache", batch, latent_dim, rope_dim, capacity, dtype, window, sink_tokens
        )
        self._state = State(layout, buffer, "LatentKVCache", overflow)

    @classmethod
    def open(cls, buffer: NDArray[np.uint8], overflow: str = "raise") -> LatentKVCache:
        """Open the cache that a buffer holds.

        Parameters
        ----------
        buffer, overflow
            As of `KVCache.open`.

        Returns
        -------
        LatentKVCache

        Raises
        ------
        ValueError
            buffer holds no such cache, or one that is damaged or was shortened.
        TypeError
            buffer is not of uint8.
        """
        call = "LatentKVCache.open"
        layout = read_layout(buffer, call)
        if not layout.latent:
            raise ValueError(f"{call}: buffer holds a KVCache.\n  Open it with KVCache.open.")
        cache = cls.__new__(cls)
        cache._state = State(layout, buffer, call, overflow)
        return cache

    @staticmethod
    def nbytes_for(
        batch: int,
        latent_dim: int,
        rope_dim: int,
        capacity: int,
        dtype: str = "bfloat16",
        window: int | None = None,
        sink_tokens: int = 0,
    ) -> int:
        """Bytes that a buffer for such a cache needs; arguments as for the cache."""
        call = "LatentKVCache.nbytes_for"
        sizes = batch, latent_dim, rope_dim, capacity, dtype, window, sink_tokens
        return checked_layout(call, *sizes).nbytes

    @property
    def latent_dim(self) -> int:
        """Columns of a latent vector, and of the output."""
        return self._state.layout.value_dim

    @property
    def rope_dim(self) -> int:
        """Columns of the key that carries the positions."""
        return self._state.layout.head_dim - self._state.layout.value_dim

    @in_the_name_of("append")
    def append(
        self,
        latent: ArrayLike,
        rope_key: ArrayLike,
        rope: Rope | None = None,
        lengths: ArrayLike | None = None,
    ) -> None:
        """Add tokens, rounding them to the cache's type.

        Parameters
        ----------
        latent : array_like, shape (batch, n, latent_dim)
            Of any float type; without the first axis if batch is 1.
        rope_key : array_like, shape (batch, n, rope_dim)
            Of the same type.
        rope : Rope, optional
            Turns rope_key by the positions of the tokens, and the query_rope of `attend` by theirs.
            Given with the first tokens, it holds for all; None later on means the same.
        lengths : array_like of int, shape (batch,), optional
            How many of the n tokens each batch element gets, the first ones; by default all.

        Raises
        ------
        ValueError
            A shape does not fit, there is no room, a number is beyond the range of the cache's
            type, rope is another one than before, or buffer is read-only. Nothing has changed.
        TypeError
            An argument is of a type that is not supported. Nothing has changed.
        """
        layout = self._state.layout
        parts = [
            new_part(latent, "latent", layout.batch, self.latent_dim),
            new_part(rope_key, "rope_key", layout.batch, self.rope_dim),
        ]
        rows = _check.joined(parts, ["latent", "rope_key"], "append")[:, np.newaxis]
        values = rows[..., : layout.value_dim]  # which are not stored again

        def name(at: tuple[int, ...]) -> str:
            part = "latent" if at[3] < layout.value_dim else "rope_key"
            return f"{part} of batch element {at[0]}, token {at[2]}"

        append_rows(self._state, rows, values, rope, lengths, name, name)

    @overload
    def attend(
        self,
        query: ArrayLike,
        query_rope: ArrayLike,
        *,
        return_lse: Literal[False] = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array: ...
    @overload
    def attend(
        self,
        query: ArrayLike,
        query_rope: ArrayLike,
        *,
        return_lse: Literal[True],
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> tuple[Array, Array]: ...
    @overload
    def attend(
        self,
        query: ArrayLike,
        query_rope: ArrayLike,
        *,
        return_lse: bool,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]: ...
    @in_the_name_of("attend")
    def attend(
        self,
        query: ArrayLike,
        query_rope: ArrayLike,
        *,
        return_lse: bool = False,
        out: Array | None = None,
        **options: Unpack[CachedOptions],
    ) -> Array | tuple[Array, Array]:
        """Attention of the latest tokens to all tokens of the cache.

        Parameters
        ----------
        query : array_like, shape (batch, Hq, Sq, latent_dim)
            Queries that have taken in the matrix that makes keys of latent vectors. The last query
            is of the last token that was appended; without the first axis if batch is 1.
        query_rope : array_like, shape (batch, Hq, Sq, rope_dim)
            What meets rope_key.
        return_lse : bool, default False
            Also return the logarithm of the softmax denominators.
        out : ndarray, optional
            Written in place; of the shape of the output.
        **options
            As of `KVCache.attend`, but scale must be given: it is that of the heads before they
            were absorbed, 1 / sqrt(of their head_dim), and not known here.

        Returns
        -------
        out : ndarray, shape (batch, Hq, Sq, latent_dim)
            Weighted latent vectors, in the dtype of query; the matrix that makes values of latent
            vectors comes after.
        lse : ndarray, shape (batch, Hq, Sq)
            Only with return_lse.

        Raises
        ------
        ValueError
            As `KVCache.attend` does; or the shapes of query and query_rope do not fit.
        TypeError
            As `KVCache.attend` does; or there is no scale.
        """
        _check.latent_scale(options)
        queries = [(query, "query"), (query_rope, "query_rope")]
        return self._attend_to(queries, return_lse, out, {**options})

    def __repr__(self) -> str:
        layout = self._state.layout
        more = "" if layout.window is None else f"window={layout.window}, "
        more += "" if not layout.sink_tokens else f"sink_tokens={layout.sink_tokens}, "
        more += "" if self.overflow == "raise" else f"overflow={self.overflow!r}, "
        return (
            f"LatentKVCache(batch={layout.batch}, latent_dim={self.latent_dim}, "
            f"rope_dim={self.rope_dim}, capacity={layout.capacity}, dtype={layout.dtype!r}, "
            f"{more}lengths={self._state.lengths.tolist()})"
        )
