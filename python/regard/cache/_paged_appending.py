"""How packed rows get into a paged cache: counted, turned, rounded, each to its page."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.cache import _check
from regard.cache._packing import handles_of, pieces_of, token_numbers
from regard.cache._paged_contents import PagedContents
from regard.cache._range import overflow_policy, within
from regard.cache._rotary import choose
from regard.cache._sequences import Sequences
from regard.cache._storage import Storage

if TYPE_CHECKING:
    from regard.positions import Rope


class PagedAppending(PagedContents):
    """A cache in pages that rows can be put in."""

    __slots__ = ()

    def _set_up(
        self,
        call: str,
        pages: int,
        page_size: int,
        kv_heads: int,
        head_dim: int,
        value_dim: int | None,
        dtype: str,
        overflow: str,
        latent: bool = False,
    ) -> None:
        """Check sizes and set memory aside; `latent`: values are the first columns of the keys."""
        self.overflow = overflow_policy(overflow, call)
        self.pages = _check.whole(pages, "pages", call, 1)
        self.page_size = _check.whole(page_size, "page_size", call, 1)
        self.kv_heads = _check.whole(kv_heads, "kv_heads", call, 1)
        self.head_dim = _check.whole(head_dim, "head_dim", call, 1)
        self.dtype = _check.dtype_name(dtype, call)
        self.value_dim = self.head_dim
        if value_dim is not None:
            self.value_dim = _check.whole(value_dim, "value_dim", call, 1)
        self._latent = latent
        # Tokens of a head lie next to each other, for the memory's sake.
        lead = (self.pages, self.kv_heads, self.page_size)
        self._storage = Storage(self.dtype, lead, self.head_dim, self.value_dim, latent=latent)
        self._sequences = Sequences(self.pages, self.page_size, self._storage)
        self._rotation = None
        self._used = False  # whether anything has ever been appended

    def _append_rows(
        self,
        sequences: int | Several[int],
        keys: NDArray[Any],
        values: NDArray[Any],
        cu_seqlens: ArrayLike | None,
        tokens: ArrayLike | None,
        rope: Rope | None,
        name_of_key: Callable[[tuple[int, ...]], str],
        name_of_value: Callable[[tuple[int, ...]], str],
    ) -> None:
        """Append rows (total, kv_heads, dim), as many of keys as of values.

        Parameters
        ----------
        sequences, cu_seqlens, tokens, rope
            As given to `append`.
        keys, values : ndarray
        name_of_key, name_of_value : callable
            Name the argument that a number, given its index, came from.
        """
        several = self._sequences.look_up(sequences, "append")
        if len({one.row for one in several}) < len(several):
            raise ValueError(f"append: sequences is {sequences}.\n  Give each of them once.")
        total = len(keys)
        starts, cuts = pieces_of(cu_seqlens, total, len(several), "append: cu_seqlens")
        numbers = None if tokens is None else token_numbers(tokens, "append", total)
        first = self.value_dim if self._latent else 0
        rotation = choose(self._rotation, rope, self.head_dim, self._used, first)
        table_rows = np.array([one.row for one in several], np.int64)
        before = self._sequences.lengths[table_rows]
        after = before + cuts
        self._sequences.check_pages(several, before.tolist(), after.tolist())

        positions = np.repeat(before - starts, cuts) + np.arange(total)
        turned = keys
        if rotation is not None:
            with np.errstate(over="ignore"):  # of half precision: `within` looks for it
                turned = rotation.turn(keys, positions[:, np.newaxis])
        ends = starts + cuts

        def place(at: tuple[int, ...]) -> str:
            piece = int(np.searchsorted(ends, at[0], side="right"))
            token = at[0] - starts[piece]
            return f"sequence {handles_of(sequences)[piece]}, head {at[1]}, token {token}"

        dtype, overflow = self.dtype, self.overflow
        keys = within(turned, keys, dtype, overflow, lambda at: f"{name_of_key(at)} of {place(at)}")
        values = within(
            values, values, dtype, overflow, lambda at: f"{name_of_value(at)} of {place(at)}"
        )
        blocks, slots = np.divmod(positions, self.page_size)
        try:
            for one, start, end in zip(several, before.tolist(), after.tolist(), strict=True):
                if end > start:
                    self._sequences.make_room(one, start, end)
            pages = self._sequences.table[np.repeat(table_rows, cuts), blocks]
            self._storage.scatter(keys, values, pages, slots)
        except BaseException:  # no memory, or a key pressed: pages without tokens are given back
            for one, start in zip(several, before.tolist(), strict=True):
                self._sequences.cut(one, start)
            raise
        self._sequences.lengths[table_rows] = after
        self._rotation = rotation
        self._used = self._used or total > 0
        if numbers is not None:
            for one, length, start, count in zip(several, before, starts, cuts, strict=True):
                one.know(
                    length, numbers[start : start + count], self.page_size, self._sequences.pages
                )
