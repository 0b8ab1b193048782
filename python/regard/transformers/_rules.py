"""The mask functions of transformers, taken apart.

transformers says who sees whom by functions of (batch, head, query, key) that are closures over
numbers and tensors (``transformers.masking_utils``). A `Rule` is what such a function means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import masking_utils

Integers = NDArray[np.integer[Any]]


class UnknownMask(Exception):
    """A mask function whose meaning is not known."""


@dataclass(frozen=True)
class Rule:
    """Who sees whom: causal, window and chunks, or one of `blocks`; and in one document.

    Positions are those of the whole text, of which keys may be a later part.
    """

    causal: bool = False
    left: int | None = None  # a query at p sees the keys from p - left
    right: int | None = None  # and up to p + right
    chunk_size: int | None = None
    chunk_start: Integers | None = None  # (batch,), where the first chunk begins
    blocks: Integers | None = None  # (batch, positions): equal numbers see each other; -1 is none
    documents: Integers | None = None  # (batch, positions): different numbers do not

    @property
    def by_position(self) -> bool:
        """Whether positions restrict anything."""
        return self.causal or (self.left, self.right, self.chunk_size) != (None, None, None)

    def sees(self, element: Any, query: Any, key: Any) -> NDArray[np.bool_]:
        """Evaluate the rule at positions that broadcast against each other."""
        seen = np.ones(np.broadcast_shapes(np.shape(query), np.shape(key)), np.bool_)
        if self.causal:
            seen = seen & (key <= query)
        if self.left is not None:
            seen = seen & (key >= query - self.left)
        if self.right is not None:
            seen = seen & (key <= query + self.right)
        if self.chunk_size is not None and self.chunk_start is not None:
            start = self.chunk_start[element]
            seen = seen & (self._chunk(query, start) == self._chunk(key, start))
        if self.blocks is not None:
            block = self.blocks[element, query]
            seen = seen | ((block == self.blocks[element, key]) & (block >= 0))
        if self.documents is not None:
            seen = seen & (self.documents[element, query] == self.documents[element, key])
        return seen

    def chunks(self, positions: Integers) -> Integers:
        """Return the chunk of each position, (batch, positions)."""
        assert self.chunk_start is not None
        chunks: Integers = self._chunk(positions, self.chunk_start[:, None])
        return chunks

    def _chunk(self, position: Any, start: Any) -> Any:
        return (position - start) // self.chunk_size


def parse(function: Callable[..., Any], packed: bool = False) -> Rule:
    """Take a mask function apart.

    Raises
    ------
    UnknownMask
        It is none of those of transformers, or one that has no compact form.
    """
    if function is masking_utils.causal_mask_function:
        return Rule(causal=True)
    if function is getattr(masking_utils, "bidirectional_mask_function", None):
        return Rule()
    if getattr(function, "__module__", None) != masking_utils.__name__:
        raise UnknownMask(getattr(function, "__qualname__", repr(function)))
    kind = function.__qualname__.split(".")[0]
    held = _closure(function)
    if kind == "and_masks":
        rule = Rule()
        for part in held["mask_functions"]:
            rule = _both(rule, parse(part, packed))
        return rule
    if kind == "or_masks":
        first, *others = held["mask_functions"]
        return _or_blocks(parse(first, packed), others)
    if kind == "sliding_window_overlay":  # counts the token itself
        return Rule(left=held["sliding_window"] - 1)
    if kind == "sliding_window_bidirectional_overlay":
        return Rule(left=held["sliding_window"], right=held["sliding_window"])
    if kind == "chunked_overlay" and not packed:
        return Rule(chunk_size=held["chunk_size"], chunk_start=held["left_padding"].numpy())
    if kind == "packed_sequence_mask_function":
        documents = held["packed_sequence_mask"].numpy()
        return Rule() if (documents == documents[:, :1]).all() else Rule(documents=documents)
    if kind == "remap_positions_for_packed_sequence":
        # Positions go up by one within a document, so causal and windows mean the same by index;
        # where chunks begin does not.
        return parse(held["mask_function"], packed=True)
    raise UnknownMask(kind)


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """Look up what a closure holds, by name."""
    names = function.__code__.co_freevars
    cells = function.__closure__ or ()
    return {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}


def _both(a: Rule, b: Rule) -> Rule:
    """Join two rules: what both allow."""
    for one, other in ((a, b), (b, a)):
        if one.blocks is not None and (other.by_position or other.blocks is not None):
            raise UnknownMask("blocks within a window")
    for name in ("chunk_size", "documents"):
        if getattr(a, name) is not None and getattr(b, name) is not None:
            raise UnknownMask(f"two kinds of {name}")
    given = {
        name: getattr(rule, name)
        for name in ("chunk_size", "chunk_start", "blocks", "documents")
        for rule in (a, b)
        if getattr(rule, name) is not None
    }
    return Rule(
        causal=a.causal or b.causal,
        left=_least(a.left, b.left),
        right=_least(a.right, b.right),
        **given,
    )


def _or_blocks(rule: Rule, others: list[Callable[..., Any]]) -> Rule:
    """Let tokens of one block see each other as well; no other union is known."""
    kinds = [getattr(other, "__qualname__", "").split(".")[0] for other in others]
    if kinds != ["blockwise_overlay"] or rule.blocks is not None or rule.documents is not None:
        raise UnknownMask("or_masks")
    return replace(rule, blocks=_closure(others[0])["block_sequence_ids"].numpy())


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)
