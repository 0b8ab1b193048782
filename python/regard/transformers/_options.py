"""A rule and the padding of a batch, as options of ``regard.attention``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regard
from regard.transformers._rules import Rule


@dataclass(frozen=True)
class Place:
    """Where a call's queries and keys stand in the text."""

    batch: int
    queries: int
    keys: int
    query_start: int  # position of the first query
    key_start: int  # position of the first key; later than 0 in caches with a window

    @property
    def offset(self) -> int:
        """Position of the first query, counted from the first key."""
        return self.query_start - self.key_start

    def query_positions(self) -> NDArray[np.int64]:
        return np.arange(self.query_start, self.query_start + self.queries)

    def key_positions(self) -> NDArray[np.int64]:
        return np.arange(self.key_start, self.key_start + self.keys)


def mask_options(
    rule: Rule, place: Place, padding: NDArray[np.bool_] | None
) -> tuple[str, dict[str, Any]]:
    """Options that mean the same as the rule and the padding, and the route that this is.

    Parameters
    ----------
    rule : Rule
    place : Place
    padding : ndarray of bool, shape (batch, positions), optional
        True = a token, False = padding. Positions past its end are padding.
    """
    real = None if padding is None else _of_keys(padding, place)
    if real is not None and real.all():
        real = None
    segments = _segments(rule, place)
    if rule.blocks is None and segments is None:
        options = by_position(rule, place)
        if real is not None:
            options |= _padding(real, options, place)
        return ("options" if options else "none"), options
    if place.queries == 1:
        element = np.arange(place.batch)[:, None]
        row = rule.sees(element, np.array([[place.query_start]]), place.key_positions())
        row = np.broadcast_to(row if real is None else row & real, (place.batch, place.keys))
        return "options", {"key_mask": row}
    if rule.blocks is not None:
        return "blocks", {"mask": _evaluated(rule, place, real)}
    assert segments is not None
    of_queries, of_keys = segments
    if real is not None:
        of_keys = np.where(real, of_keys, -(2**62))  # the number of no query
        of_queries = np.broadcast_to(of_queries, (place.batch, place.queries))
    elif len(of_queries) == 1 or _alike(of_queries, of_keys):
        of_queries, of_keys = of_queries[0], of_keys[0]
    mask = regard.masks.documents(of_queries, of_keys)
    return "blocks", {**by_position(rule, place), "mask": mask}


def dense_mask(rule: Rule, place: Place, padding: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Evaluate rule and padding for every pair, (batch, 1, queries, keys)."""
    element = np.arange(place.batch)[:, None, None]
    seen = rule.sees(element, place.query_positions()[:, None], place.key_positions())
    if padding is not None:
        seen = seen & _of_keys(padding, place)[:, None, :]
    return np.broadcast_to(seen, (place.batch, place.queries, place.keys))[:, None]


def _of_keys(padding: NDArray[np.bool_], place: Place) -> NDArray[np.bool_]:
    """Cut out the padding that stands beside the keys, (batch, keys)."""
    real = padding[:, place.key_start : place.key_start + place.keys]
    return np.pad(real, ((0, 0), (0, place.keys - real.shape[1])))


def by_position(rule: Rule, place: Place) -> dict[str, Any]:
    """Causal and window, where they hide anything."""
    first, last = place.offset, place.offset + place.queries - 1
    options: dict[str, Any] = {}
    if rule.causal and first < place.keys - 1:
        options["causal"] = True
    left = None if rule.left is None or last - rule.left <= 0 else rule.left
    right = None if rule.right is None or first + rule.right >= place.keys - 1 else rule.right
    if left is not None or right is not None:
        options["window"] = (left, right)
    if options and place.offset != place.keys - place.queries:
        options["query_offset"] = place.offset
    return options


def _padding(real: NDArray[np.bool_], options: dict[str, Any], place: Place) -> dict[str, Any]:
    """Which keys are tokens, unless that says nothing new."""
    lengths = real.sum(axis=1)
    if (
        "causal" in options
        and (lengths >= place.offset + place.queries).all()
        and (real == (np.arange(place.keys) < lengths[:, None])).all()
    ):
        return {}  # only slots of a cache that are not filled yet, which causal hides anyway
    return {"key_mask": real}


def _segments(rule: Rule, place: Place) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Numbers of chunks and documents of queries and keys, if they hide anything."""
    numbers = []
    for positions in (place.query_positions(), place.key_positions()):
        number: NDArray[Any] = np.zeros((1, 1), np.int64)
        if rule.chunk_size is not None:
            number = rule.chunks(positions)
        if rule.documents is not None:
            number = number * (rule.documents.max() + 1) + rule.documents[:, positions]
        numbers.append(number)
    of_queries, of_keys = numbers
    first = of_keys[:, :1]
    return (
        None if (of_keys == first).all() and (of_queries == first).all() else (of_queries, of_keys)
    )


def _alike(*arrays: NDArray[Any]) -> bool:
    return all(bool((array == array[:1]).all()) for array in arrays)


def _evaluated(rule: Rule, place: Place, real: NDArray[np.bool_] | None) -> regard.BlockMask:
    """Put the rule into tiles, by its definition."""

    def sees(element: Any, _: Any, i: Any, j: Any) -> NDArray[np.bool_]:
        seen = rule.sees(element, i + place.query_start, j + place.key_start)
        return seen if real is None else seen & real[element, j]

    return regard.BlockMask.from_function(sees, place.queries, place.keys, batch=place.batch)
