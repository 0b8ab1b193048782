"""`KVCache`: one row of slots for each batch element, filled from the front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard._layout import Layout as Order
from regard.cache import _check
from regard.cache._appending import append_rows
from regard.cache._attending import Attending
from regard.cache._file import read_layout
from regard.cache._layout import Layout
from regard.cache._state import State

if TYPE_CHECKING:
    from regard.positions import Rope


class KVCache(Attending):
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
    overflow : {"raise", "saturate"}, default "raise"
        What `append` does with a number beyond the range of dtype: refuse it, or store the largest
        number there is. Infinities and NaN that are given are stored, in int8 as a row of NaN.
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
        overflow: str = "raise",
    ) -> None:
        layout = Layout.checked(
            "KVCache", batch, kv_heads, head_dim, capacity, dtype, value_dim, window, sink_tokens
        )
        self._state = State(layout, buffer, "KVCache", overflow)

    @classmethod
    def open(cls, buffer: NDArray[np.uint8], overflow: str = "raise") -> KVCache:
        """Open the cache that a buffer holds.

        Parameters
        ----------
        buffer : ndarray of uint8
            May be read-only, as ``np.memmap(path, mode="r")`` is, for `attend` alone.
        overflow : {"raise", "saturate"}, default "raise"
            As for a new cache.

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
        layout = read_layout(buffer, call)
        if layout.latent:
            raise ValueError(
                f"{call}: buffer holds a LatentKVCache.\n  Open it with LatentKVCache.open."
            )
        cache._state = State(layout, buffer, call, overflow)
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

    @in_the_name_of("append")
    def append(
        self,
        key: ArrayLike,
        value: ArrayLike,
        rope: Rope | None = None,
        lengths: ArrayLike | None = None,
        *,
        layout: str | None = None,
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
        layout : str, optional
            What the axes of key and value are, as in `regard.attention`; "BSHD" is (batch, n,
            kv_heads, dim).

        Raises
        ------
        ValueError
            A shape does not fit, there is no room, a number is beyond the range of the cache's
            type, rope is another one than before, or buffer is read-only. Nothing has changed.
        TypeError
            An argument is of a type that is not supported. Nothing has changed.

        Notes
        -----
        With a window, any number of tokens may be appended; `attend` then tells if it needs some
        that they have overwritten.
        """
        state, of_cache = self._state, self._state.layout
        if layout is not None:
            order = Order(layout, "append")
            key = order.by_head(_check.rows(key, "key"), "key")
            value = order.by_head(_check.rows(value, "value"), "value")
        keys, values = of_cache.new_rows(key, "key"), of_cache.new_rows(value, "value")
        if values.shape[2] != keys.shape[2]:
            raise ValueError(
                f"append: key has {keys.shape[2]} tokens, value {values.shape[2]}.\n  Give as many "
                "of each."
            )
        append_rows(state, keys, values, rope, lengths, _key, _value)


def _key(at: tuple[int, ...]) -> str:
    """Name a number of key (batch, kv_heads, n, head_dim)."""
    return f"key of batch element {at[0]}, head {at[1]}, token {at[2]}"


def _value(at: tuple[int, ...]) -> str:
    return f"value of batch element {at[0]}, head {at[1]}, token {at[2]}"
