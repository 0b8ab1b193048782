"""Calls of the core for the weights, which take the options that concern scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import coerce
from regard._call.core_options import check_names, core_options, refuse
from regard._call.layout import arrays_by_head, take_layout
from regard._call.options import names

if TYPE_CHECKING:
    from regard._call.types import Stage
    from regard._core import _Options as CoreOptions

    Array: TypeAlias = NDArray[Any]

# A slice, or numbers of rows or keys (negative ones count from the end).
Selection: TypeAlias = "slice | ArrayLike | None"

_REFUSED = names(lambda option: not option.scores)

# In the order of the core's numbers for them.
_STAGES = ("scaled", "softcapped", "masked", "weights")

_MOST = 2**24  # a row's best keys are kept in scratch memory


def weights(
    query: ArrayLike,
    key: ArrayLike,
    rows: Selection,
    keys: Selection,
    options: dict[str, Any],
    stage: Stage = "weights",
) -> Array:
    """Compute chosen rows of the weights or scores, and of those the chosen keys."""
    if stage not in _STAGES:
        raise ValueError(
            f"attention: stage is {stage!r}.\n  Give 'scaled', 'softcapped' or 'masked' for the "
            "scores at that stage, or 'weights'."
        )
    q, k, core = scores_call("attention_weights", query, key, options)
    row_numbers = _numbers("rows", rows, q.shape[-2] if q.ndim > 1 else 1)
    key_numbers = _numbers("keys", keys, _count_keys(k, core))
    first, last = 0, 0
    if key_numbers.size:
        first, last = int(key_numbers.min()), int(key_numbers.max()) + 1
    found = _core.weights(
        q, k, core or None, row_numbers.tolist(), first, last, _STAGES.index(stage)
    )
    if key_numbers.size != last - first or (np.diff(key_numbers) != 1).any():
        found = found[..., key_numbers - first]
    return _as_called(found, q, k, core, length=True)


def summary(
    query: ArrayLike,
    key: ArrayLike,
    top_k: int,
    pooled: tuple[int, int],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Compute the fields of an `AttentionSummary`."""
    q, k, core = scores_call("attention_summary", query, key, options)
    cells = tuple(pooled) if isinstance(pooled, (tuple, list)) else ()
    if len(cells) != 2 or not all(_is_count(n, 1) for n in cells):
        raise ValueError(
            f"attention: pooled is {pooled!r}.\n  Give the (rows, columns) of the map, each at "
            f"least 1 and at most {_MOST}; more than queries and keys are not used."
        )
    check_top_k(top_k, k, core)
    fields = _core.summary(q, k, core or None, int(top_k), int(cells[0]), int(cells[1]))
    length = {"column_sums": False, "pooled": False}
    return {
        name: _as_called(array, q, k, core, length=length.get(name, True))
        for name, array in fields.items()
    }


def check_top_k(top_k: Any, key: Array, core: CoreOptions) -> None:
    """Refuse what is no number of keys."""
    if not _is_count(top_k, 0):
        raise ValueError(
            f"attention: top_k is {top_k!r}.\n  Give a number of keys from 0 to {_MOST}; there are "
            f"{_count_keys(key, core)}."
        )


def scores_call(
    function: str, query: ArrayLike, key: ArrayLike, options: dict[str, Any]
) -> tuple[Array, Array, CoreOptions]:
    """Arrays and options as the core takes them, which is given the keys in place of values."""
    refuse(
        options,
        _REFUSED,
        "does not concern the scores.\n  Leave it out: these are the weights before dropout.",
    )
    check_names(function, options)
    options = dict(options)
    if (layout := take_layout(options)) is not None:
        q, k, _ = arrays_by_head(layout, query, key, key, options)
    else:
        stored = options.get("key_scales") is not None
        q = coerce(query, "query", "input")
        k = coerce(key, "key", "stored" if stored else "input")
    core = core_options(q, k, options)
    if "block_table" in core:
        core["block_table"] = coerce(core["block_table"], "block_table", "lengths")
    if "key_scales" in core:
        core["value_scales"] = core["key_scales"]
    return q, k, core


def _is_count(n: Any, least: int) -> bool:
    whole = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    return whole and least <= int(n) <= _MOST


def _count_keys(key: Array, core: CoreOptions) -> int:
    """Sk: in pages, as many as their blocks have room for."""
    if "block_table" in core and key.ndim > 1:
        return int(math.prod(core["block_table"].shape[-1:]) * key.shape[1])
    return int(key.shape[-2]) if key.ndim > 1 else 0


def _numbers(argument: str, selection: Any, length: int) -> NDArray[np.int64]:
    if selection is None:
        return np.arange(length)
    if isinstance(selection, slice):
        return np.arange(length)[selection]
    numbers = np.asarray(selection)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1:
        raise TypeError(
            f"attention: {argument} has dtype {numbers.dtype}, shape {numbers.shape}.\n  Give a "
            "slice, or whole numbers."
        )
    numbers = np.atleast_1d(numbers).astype(np.int64)
    if numbers.min() < -length or numbers.max() >= length:
        raise ValueError(
            f"attention: {argument} holds {numbers.min()} .. {numbers.max()}, outside the length "
            f"{length}.\n  Give numbers from {-length} to {length - 1}."
        )
    return np.where(numbers < 0, numbers + length, numbers)


def _as_called(array: Array, query: Array, key: Array, core: CoreOptions, *, length: bool) -> Array:
    """From (batch, heads, ...) to the axes that query and key came with."""
    of_keys = core["block_table"].shape[:-1] if "block_table" in core else key.shape[:-3]
    batch = np.broadcast_shapes(query.shape[:-3], of_keys)
    array = array.reshape(*batch, *array.shape[1:])
    if query.ndim == 1 and length:
        array = array[..., 0, :] if array.ndim > len(batch) + 2 else array[..., 0]
    return array[0] if max(query.ndim, key.ndim) == 2 else array
