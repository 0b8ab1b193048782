"""An attention layer with a cache: tokens are appended to it, and attend to all that it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard.cache import KVCache, PagedKVCache
from regard.nn._call import layout_of

if TYPE_CHECKING:
    from regard.positions import Rope

Array: TypeAlias = NDArray[Any]


def append(
    cache: KVCache | PagedKVCache,
    key: Array,
    value: Array,
    rope: Rope | None,
    own: bool,
    offsets: ArrayLike | None,
    sequences: int | list[int] | None,
    options: dict[str, Any],
) -> None:
    """Append keys and values (..., tokens, kv_heads, head_dim), which rope turns on the way.

    Parameters
    ----------
    own : bool
        Whether they are of the tokens that attend, so that query_lengths counts them too.

    Raises
    ------
    TypeError, ValueError
        As the cache does, and for sequences without or with the wrong kind of cache.
    """
    if isinstance(cache, PagedKVCache):
        cache.append(_named(sequences), key, value, offsets, rope=rope)
        return
    _contiguous(offsets, sequences)
    lengths = options.get("query_lengths") if own else None
    cache.append(key, value, rope, lengths, layout=layout_of(key))


def attend_to_cache(
    cache: KVCache | PagedKVCache,
    query: Array,
    offsets: ArrayLike | None,
    sequences: int | list[int] | None,
    options: dict[str, Any],
) -> Array:
    """Attend with queries (..., tokens, heads, head_dim)."""
    if isinstance(cache, PagedKVCache):
        packed: Array = cache.attend(_named(sequences), query, offsets, **options)
        return packed
    _contiguous(offsets, sequences)
    out: Array = cache.attend(query, layout=layout_of(query), **options)
    return out


def _named(sequences: int | list[int] | None) -> int | list[int]:
    if sequences is None:
        raise TypeError(
            "attention: sequences is missing.\n  Say which sequences of the PagedKVCache x has "
            "the tokens of."
        )
    return sequences


def _contiguous(offsets: ArrayLike | None, sequences: int | list[int] | None) -> None:
    for name, given in (("offsets", offsets), ("sequences", sequences)):
        if given is not None:
            raise TypeError(
                f"attention: {name} with a KVCache.\n  Packed rows and sequences are of a "
                "PagedKVCache; a KVCache takes (batch, tokens, features)."
            )
