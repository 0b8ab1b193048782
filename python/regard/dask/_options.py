"""Options of a call, and what each part of it is given of them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from regard.dask._grid import Grid, Labels, Part, labels_of
from regard.reference import offsets

Array: TypeAlias = NDArray[Any]

#: Options that may be as large as the inputs, and so may be dask arrays.
LARGE = ("mask", "bias", "key_mask", "query_scale", "key_scales", "value_scales")
_HEADS = ("scale", "softcap", "sinks")
_LENGTHS = {"key_lengths": "keys", "query_lengths": "queries"}
# Positions further away than any key may be are refused: parts could not count from them.
_FARTHEST = 2**62


@dataclass(frozen=True)
class Origin:
    """Where a part lies in the whole, for dropout."""

    elements: Array
    head: int
    query: int
    key: int

    def core(self) -> dict[str, Any]:
        """Return it as options of the core."""
        return {
            "dropout_elements": self.elements,
            "dropout_head": self.head,
            "dropout_query": self.query,
            "dropout_key": self.key,
        }


class PartOptions:
    """Options of a call over a grid.

    Parameters
    ----------
    given : dict
        As in `regard.attention`, checked; large arrays are NumPy's or dask's.
    grid : Grid
    """

    def __init__(self, given: dict[str, Any], grid: Grid) -> None:
        self.given = {name: x for name, x in given.items() if name not in LARGE}
        self.large = {name: given[name] for name in LARGE if given.get(name) is not None}
        self._grid = grid
        batch = grid.batch
        shape = (*batch, grid.size("heads"), grid.size("queries"), grid.size("keys"))
        where = {name: given.get(name) for name in (*_LENGTHS, "query_offset")}
        first = offsets(shape, causal=given.get("causal", False), **where)
        if first.size and not -_FARTHEST <= first.min() <= first.max() <= _FARTHEST:
            raise ValueError(
                f"attention: query_offset is {first.min()} .. {first.max()}.\n  In chunks it is at "
                f"most {_FARTHEST} to either side."
            )
        self._offsets = np.broadcast_to(
            first.reshape(first.shape[:-3] if first.ndim else ()), batch
        )
        self._counts = {
            label: np.broadcast_to(given.get(name, grid.size(label)), batch)
            for name, label in _LENGTHS.items()
        }
        window = given.get("window")
        sides = window if isinstance(window, (tuple, list)) else (window, window)
        self._left, self._right = sides
        self._positions = window is not None or any(
            given.get(name) for name in ("causal", "position_bias")
        ) or given.get("alibi_slopes") is not None  # fmt: skip

    def sees(self, part: Part) -> bool:
        """Whether any query of a part may see any of its keys."""
        if not self._reaches(part):
            return False
        for name in ("mask", "key_mask"):
            mask = self.large.get(name)
            if not isinstance(mask, np.ndarray):  # what a dask array hides is not known yet
                continue
            if not part.cut(mask, labels_of(name, mask.ndim)).any():
                return False
        return True

    def _reaches(self, part: Part) -> bool:
        """By causal, window and lengths: the intervals of keys seen, against those that count."""
        queries, keys = part.ranges["queries"], part.ranges["keys"]
        batch = self._batch(part)
        first = self._offsets[batch] + queries.start  # position of the first query
        last_query = np.minimum(self._counts["queries"][batch], queries.stop)
        last_key = np.minimum(self._counts["keys"][batch], keys.stop)
        last = self._offsets[batch] + last_query - 1
        seen = (last_query > queries.start) & (last_key > keys.start)
        left, right = (self._farthest(side, part) for side in (self._left, self._right))
        if self.given.get("causal", False):
            right = 0 if right is None else min(right, 0)
        if left is not None:
            seen &= last_key - 1 >= first - left
        if right is not None:
            seen &= keys.start <= last + right
        return bool(seen.any())

    @staticmethod
    def _farthest(side: Any, part: Part) -> int | None:
        """Limit of a side of the window, of the head that sees most."""
        if side is None:
            return None
        if np.ndim(side) == 0:
            return min(int(side), _FARTHEST)
        limits = np.asarray(side)[part.ranges["heads"]]
        return None if (limits == -1).any() else min(int(limits.max(initial=0)), _FARTHEST)

    def of(self, part: Part) -> tuple[dict[str, Any], Origin | None]:
        """Return options of a part but the large ones, and where it lies if that matters."""
        options = dict(self.given)
        heads, batch = part.ranges["heads"], self._batch(part)
        for name in _HEADS:
            if options.get(name) is not None and np.ndim(options[name]) > 0:
                options[name] = np.asarray(options[name])[heads]
        if options.get("sinks") is not None and not part.first:
            del options["sinks"]
        for name in ("alibi_slopes", "position_bias"):
            if options.get(name) is not None:
                options[name] = self.table(name, part)
        if options.get("window") is not None:
            options["window"] = tuple(
                side if np.ndim(side) == 0 else np.asarray(side)[heads]
                for side in (self._left, self._right)
            )
        for name, label in _LENGTHS.items():
            if options.get(name) is not None:
                there = part.ranges[label]
                counted = self._counts[label][batch] - there.start
                options[name] = np.clip(counted, 0, there.stop - there.start)
        if self._positions:
            moved = part.ranges["queries"].start - part.ranges["keys"].start
            options["causal"] = bool(options.get("causal", False))
            options["query_offset"] = self._offsets[batch] + moved
        else:
            options.pop("query_offset", None)
        if not options.get("dropout"):
            return options, None
        elements = np.arange(self._offsets.size).reshape(self._offsets.shape)[batch]
        starts = (part.ranges[label].start for label in ("heads", "queries", "keys"))
        return options, Origin(elements, *starts)

    def table(self, name: str, part: Part) -> Any:
        """Return what a part has of slopes, or of the table of a position bias."""
        if name == "alibi_slopes":
            slopes = np.asarray(self.given[name])
            return part.cut(slopes, labels_of(name, slopes.ndim))
        bias = copy(self.given[name])
        bias.table = part.cut(bias.table, (None, "heads"))
        return bias

    def labels(self, name: str) -> tuple[Labels, tuple[int, ...]]:
        """Labels and shape of an option that has a gradient."""
        if name == "position_bias":
            return (None, "heads"), self.given[name].table.shape
        array = self.large[name] if name in self.large else np.asarray(self.given[name])
        shape = tuple(array.shape)
        if name == "sinks":
            return ("heads",) * len(shape), shape
        return labels_of(name, len(shape)), shape

    def _batch(self, part: Part) -> tuple[slice, ...]:
        return tuple(part.ranges[label] for label in self._grid.batch_labels)


def chunked(name: str, array: Any, grid: Grid) -> da.Array:
    """Return a large option as a dask array with the chunks of a grid."""
    labels = labels_of(name, array.ndim)
    chunks = grid.of(labels, array.shape)
    return array.rechunk(chunks) if isinstance(array, da.Array) else da.from_array(array, chunks)
