"""How rows of keys and values get into a contiguous cache: counted, turned, rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from regard.cache import _check
from regard.cache._range import Place, within
from regard.cache._rotary import choose, turned_keys
from regard.cache._state import State

if TYPE_CHECKING:
    from regard.positions import Rope


def append_rows(
    state: State,
    keys: NDArray[Any],
    values: NDArray[Any],
    rope: Rope | None,
    lengths: ArrayLike | None,
    name_of_key: Place,
    name_of_value: Place,
) -> None:
    """Append rows (batch, kv_heads, n, dim), as many of keys as of values.

    Parameters
    ----------
    state : State
    keys, values : ndarray
    rope, lengths
        As given to `append`.
    name_of_key, name_of_value : callable
        Name a number by its index, for messages.
    """
    of_cache, count = state.layout, int(keys.shape[2])
    same = state.same if lengths is None else -1  # the length of all, the fast case
    after = state.lengths
    if same < 0:
        after = after + (
            count
            if lengths is None
            else _check.counts(
                lengths, "lengths", "append", of_cache.batch, count, "the tokens that are given"
            )
        )
    if state.ring is None and (same + count if same >= 0 else after.max()) > of_cache.capacity:
        _check.refuse_no_room(
            state.lengths, state.lengths + count if same >= 0 else after, of_cache.capacity
        )
    rotation = choose(
        state.rotation, rope, of_cache.head_dim, state.same != 0, of_cache.first_turned
    )
    state.check_writeable("append")
    turned = keys
    if rotation is not None:
        turned = turned_keys(rotation, keys, state.lengths, state.same)
    more = None if lengths is None else after - state.lengths
    dtype, overflow = of_cache.dtype, state.overflow
    keys = within(turned, keys, dtype, overflow, name_of_key, more)
    values = within(values, values, dtype, overflow, name_of_value, more)
    if same >= 0:
        state.write_alike(keys, values, rotation)
    else:
        state.write(keys, values, after, rotation)
