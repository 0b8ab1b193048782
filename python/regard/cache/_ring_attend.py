"""Attention to a ring, whose slots are read in place, in whatever order their tokens are.

The order of keys does not matter to softmax. So there is a mask over the slots where some of them
are not to be seen, and options that depend on positions become a bias over the slots.

Positions count the tokens that a query sees, sinks and window, without the gap between them. For a
query at p that makes no difference to the window, and puts it at min(p, s + w) as seen from the
sinks. Rotated queries differ between the two, whose results are then merged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard._attention import attention
from regard._bfloat16 import is_bfloat16, narrowed, widened
from regard._call.conversions import lowered_position_bias
from regard._call.options import names
from regard._merge import merge_states
from regard.cache._ring import Ring
from regard.cache._rotary import first_positions
from regard.cache._storage import Storage
from regard.positions._rotation import Rotation

# What may be given; the window makes the rest meaningless or gives it a second meaning.
_POSSIBLE = frozenset(names(lambda option: option.cached == "always"))


def _part(
    storage: Storage,
    slots: slice,
    query: NDArray[Any],
    options: dict[str, Any],
    visible: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
) -> Any:
    """Attention to some slots; visible is (batch or 1, Sq, slots), bias (batch or 1, Hq, ...)."""
    keys, values, scales = storage.at((slice(None), slice(None), slots))
    options = {**options, **scales}
    if visible is not None and not visible.all():
        options["mask"] = visible[:, np.newaxis]
    if bias is not None:
        options["bias"] = bias
    return attention(query, keys, values, **options)


def attend(
    ring: Ring,
    storage: Storage,
    lengths: NDArray[np.int64],
    highest: NDArray[np.int64],
    rotation: Rotation | None,
    query: NDArray[Any],
    options: dict[str, Any],
) -> Any:
    """Attention of query (batch, Hq, Sq, D)."""
    _refuse(options)
    count = query.shape[-2]
    if (lengths == lengths[0]).all() and "query_lengths" not in options:
        lengths, highest = lengths[:1], highest.max(keepdims=True)
    first = first_positions(lengths, count, options)
    _check_kept(ring, first, lengths, highest)
    p = first[:, np.newaxis] + np.arange(count)  # (batch or 1, Sq)
    turned = query if rotation is None else _turned(rotation, query, p)

    straight = bool((highest <= ring.capacity).all())
    slots = int(lengths.max()) if straight else ring.capacity
    reaches_sinks = bool((lengths - 1 <= ring.sinks + ring.window).all())
    if straight and (reaches_sinks or ring.sinks == 0):
        if not reaches_sinks:
            options["window"] = (ring.window, 0)
        if len(lengths) > 1:
            options["key_lengths"] = lengths
        options["causal"] = True
        return _part(storage, slice(slots), turned, options)

    options.pop("causal", None)
    visible = _visible(ring, p, slots)
    near = np.minimum(p, ring.sinks + ring.window)  # positions as seen from the sinks
    bias = _bias(ring, query, p, near, lengths, slots, options)
    if rotation is None or ring.sinks == 0:
        return _part(storage, slice(slots), turned, options, visible, bias)
    return _merged(ring, storage, rotation, query, turned, near, visible, bias, options)


def _merged(
    ring: Ring,
    storage: Storage,
    rotation: Rotation,
    query: NDArray[Any],
    far_query: NDArray[Any],
    near: NDArray[np.int64],
    visible: NDArray[np.bool_],
    bias: NDArray[Any] | None,
    options: dict[str, Any],
) -> Any:
    """Attention to the sinks by a query turned as seen from them, and to the rest as it stands."""
    return_lse, out = options.pop("return_lse", False), options.pop("out", None)
    shape = (*query.shape[:-1], storage.values.shape[-1])
    if out is not None:
        _check_out(out, shape, query.dtype)
    # Half precision is rounded once, after the merge.
    near_query = _turned(rotation, query, near)
    s, parts = ring.sinks, []
    for rows, slots in ((near_query, slice(s)), (far_query, slice(s, visible.shape[-1]))):
        part_of_bias = None if bias is None else bias[..., slots]
        more = {**options, "return_lse": True}
        parts.append(_part(storage, slots, _widened(rows), more, visible[..., slots], part_of_bias))
        options.pop("sinks", None)  # a logit of the whole, so of one part only
    merged, lse = merge_states(*zip(*parts, strict=True))
    half = is_bfloat16(query.dtype)
    result = narrowed(merged, query.dtype) if half else merged.astype(query.dtype, copy=False)
    if out is not None:
        out[...] = result
        result = out
    return (result, lse) if return_lse else result


def _turned(rotation: Rotation, query: NDArray[Any], p: NDArray[np.int64]) -> NDArray[Any]:
    if p.size == 1:
        return rotation.turn_from(query, int(p[0, 0]))
    return rotation.turn(query, p[:, np.newaxis])


def _widened(query: NDArray[Any]) -> NDArray[Any]:
    if is_bfloat16(query.dtype):
        return widened(query)
    return query.astype(np.result_type(query.dtype, np.float32), copy=False)


def _visible(ring: Ring, p: NDArray[np.int64], slots: int) -> NDArray[np.bool_]:
    """Mark the slots that each query sees, (batch or 1, Sq, slots)."""
    visible = np.zeros((*p.shape, slots), np.bool_)
    for row, position in zip(visible.reshape(-1, slots), p.ravel().tolist(), strict=True):
        row[: max(0, min(ring.sinks, position + 1))] = True
        for _, window in ring.runs(max(ring.sinks, position - ring.window), position + 1):
            row[window] = True
    return visible


def _bias(
    ring: Ring,
    query: NDArray[Any],
    p: NDArray[np.int64],
    near: NDArray[np.int64],
    lengths: NDArray[np.int64],
    slots: int,
    options: dict[str, Any],
) -> NDArray[Any] | None:
    """Compute what options that depend on distances add, (batch or 1, Hq, Sq, slots)."""
    slopes, table = options.pop("alibi_slopes", None), options.pop("position_bias", None)
    if slopes is None and table is None:
        return None
    heads, dtype = query.shape[-3], np.float64 if query.dtype == np.float64 else np.float32
    sinks = near[..., np.newaxis] - np.arange(ring.sinks)
    window = p[..., np.newaxis] - ring.positions(lengths, slots)[:, np.newaxis]
    # What no query sees may be any distance.
    distances = np.concatenate((sinks, window), axis=-1).clip(0, ring.sinks + ring.window)
    bias = np.zeros((1, heads, 1, 1), dtype)
    if slopes is not None:
        slopes = np.asarray(slopes, dtype)
        if slopes.shape[-1:] != (heads,) or slopes.ndim > 2:
            raise ValueError(
                f"attend: alibi_slopes has shape {slopes.shape}.\n  Give one for each of the "
                f"{heads} heads of query."
            )
        bias = bias - slopes[..., np.newaxis, np.newaxis] * distances[:, np.newaxis]
    if table is not None:
        numbers, height, _ = lowered_position_bias(table, query)
        if height:
            raise ValueError(
                "attend: position_bias is a Grid.\n  Its pixels have no place in a window over "
                "tokens."
            )
        reach = numbers.shape[1] // 2
        of_distances = numbers[:, reach - np.minimum(distances, reach)]
        bias = bias + np.moveaxis(of_distances, 0, 1)
    return bias.astype(dtype, copy=False)


def _check_kept(
    ring: Ring,
    first: NDArray[np.int64],
    lengths: NDArray[np.int64],
    highest: NDArray[np.int64],
) -> None:
    needed, oldest = np.maximum(first - ring.window, ring.sinks), ring.oldest(highest)
    for element in np.flatnonzero((needed < oldest) & (first < lengths))[:1]:
        raise ValueError(
            f"attend: the first query stands at {first[element]} and sees back to token "
            f"{needed[element]}, but those before {oldest[element]} have been overwritten.\n"
            f"  capacity={ring.capacity}, window={ring.window}, sink_tokens={ring.sinks}\n"
            f"  Append and attend to at most {ring.size - ring.window} tokens at a time, or make "
            "the capacity larger."
        )


def _refuse(options: dict[str, Any]) -> None:
    for name in options.keys() - _POSSIBLE:
        raise TypeError(
            f"attend: {name} cannot be given to a cache with a window.\n  It may have "
            f"{', '.join(sorted(_POSSIBLE))}."
        )
    if not (options.get("causal", True) is True or options["causal"] == "lower_right"):
        raise ValueError(
            f"attend: causal is {options['causal']!r}.\n  A cache with a window is causal: leave "
            "it out."
        )


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        found = f"{out.shape} {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(
            f"attend: out is {found}; the result is {shape} {dtype}.\n  Give an array of exactly "
            "that."
        )
