"""How a call is cut: the chunks of each axis, and the parts that are one call of the core each.

An axis has a label, whichever array it is of: "heads", "kv_heads", "queries", "keys", and for those
of the batch their distance from the heads, -1, -2, .... An axis of 1 is the same for all parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

Label: TypeAlias = "int | str | None"  # None: never cut
Labels: TypeAlias = tuple[Label, ...]
Block: TypeAlias = tuple[int, ...]

#: Axes behind those of the batch, by the name of the array.
TRAILING: dict[str, Labels] = {
    "query": ("heads", "queries", None),
    "key": ("kv_heads", "keys", None),
    "value": ("kv_heads", "keys", None),
    "out": ("heads", "queries", None),
    "lse": ("heads", "queries"),
    "mask": ("heads", "queries", "keys"),
    "bias": ("heads", "queries", "keys"),
    "key_mask": ("keys",),
    "query_scale": ("heads", "queries"),
    "key_scales": ("kv_heads", "keys"),
    "value_scales": ("kv_heads", "keys"),
    "alibi_slopes": ("heads",),
    "key_lengths": (),
    "query_lengths": (),
    "query_offset": (),
}


def labels_of(name: str, ndim: int) -> Labels:
    """Labels of the axes of an array, which may come without the first of them."""
    trailing = TRAILING[name]
    batch = range(len(trailing) - ndim, 0)
    return (*batch, *trailing[max(0, len(trailing) - ndim) :])


@dataclass(frozen=True)
class Part:
    """A chunk of queries and one of keys, of some heads and batch elements.

    Attributes
    ----------
    index : dict
        Number of the chunk along each axis, by label.
    ranges : dict
        What that is of the axis, as a slice.
    first : bool
        Whether it is the first part of these queries, which what counts once belongs to.
    """

    index: dict[Label, int]
    ranges: dict[Label, slice]
    first: bool = False

    def block(self, labels: Labels, shape: tuple[int, ...]) -> Block:
        """Return which block of an array it reads."""
        return tuple(
            0 if label is None or size == 1 else self.index[label]
            for label, size in zip(labels, shape, strict=True)
        )

    def cut(self, array: Any, labels: Labels) -> Any:
        """Return what it reads of an array."""
        return array[self.slices(labels, array.shape)]

    def slices(self, labels: Labels, shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Return where that lies."""
        return tuple(
            slice(None) if label is None or size == 1 else self.ranges[label]
            for label, size in zip(labels, shape, strict=True)
        )


class Grid:
    """Chunks of all axes of a call.

    Parameters
    ----------
    chunks : dict
        Sizes of the chunks along each axis, by label.
    group : int
        Query heads a key head.
    """

    def __init__(self, chunks: dict[Label, tuple[int, ...]], group: int) -> None:
        self.chunks = chunks
        self.group = group
        self._starts = {label: np.cumsum((0, *sizes)).tolist() for label, sizes in chunks.items()}
        self.batch_labels = tuple(sorted(label for label in chunks if isinstance(label, int)))

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch axes of the output."""
        return tuple(self.size(label) for label in self.batch_labels)

    def size(self, label: Label) -> int:
        """Length of an axis."""
        return int(self._starts[label][-1])

    def of(self, labels: Labels, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Chunks of an array."""
        return tuple(
            (size,) if label is None or size == 1 else self.chunks[label]
            for label, size in zip(labels, shape, strict=True)
        )

    def outputs(self) -> Iterator[Part]:
        """Chunks of the output, in order; keys are missing."""
        labels: Labels = (*self.batch_labels, "heads", "queries")
        for numbers in product(*(range(len(self.chunks[label])) for label in labels)):
            yield self.part(dict(zip(labels, numbers, strict=True)))

    def part(self, index: dict[Label, int]) -> Part:
        """Return the part with these numbers of chunks."""
        index = dict(index)
        heads = self._range("heads", index["heads"])
        starts = self._starts["kv_heads"]
        index["kv_heads"] = int(np.searchsorted(starts, heads.start // self.group, "right")) - 1
        return Part(index, {label: self._range(label, n) for label, n in index.items()})

    def with_keys(self, part: Part, chunk: int, first: bool) -> Part:
        """Add a chunk of keys to a part of the output."""
        return Part(
            {**part.index, "keys": chunk},
            {**part.ranges, "keys": self._range("keys", chunk)},
            first,
        )

    def _range(self, label: Label, number: int) -> slice:
        return slice(*self._starts[label][number : number + 2])


def kv_chunks(head_chunks: Iterable[int], group: int) -> tuple[int, ...] | None:
    """Chunks of key heads that chunks of query heads need; None if there are none.

    A chunk has whole groups, or lies within one.
    """
    starts, at = [0], 0
    for heads in head_chunks:
        if at % group + heads > group and (at % group or heads % group):
            return None
        at += heads
        if at % group == 0 and at // group > starts[-1]:
            starts.append(at // group)
    return tuple(np.diff(starts).tolist()) or (0,)
