"""All sequences of a paged cache: their handles, lengths and block table, and who gets a page."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.cache._pages import OutOfPages, Pages
from regard.cache._sequence import Sequence
from regard.cache._storage import Storage


class Sequences:
    """Sequences by handle. Each has a row of the block table: its pages, and -1 behind them.

    Parameters
    ----------
    pages, page_size : int
    storage : Storage
        What a page is copied in, when a sequence writes to one that others have as well.
    """

    __slots__ = ("_free_rows", "_next", "_storage", "by_handle", "lengths", "page_size", "pages",
                 "table")  # fmt: skip

    def __init__(self, pages: int, page_size: int, storage: Storage) -> None:
        self.pages = Pages(pages)
        self.page_size = page_size
        self._storage = storage
        self.by_handle: dict[int, Sequence] = {}
        self._next = 0
        self._free_rows: list[int] = []
        self.table = np.full((0, 1), -1, np.int64)
        self.lengths = np.zeros(0, np.int64)

    def look_up(self, handles: Any, call: str) -> list[Sequence]:
        """Return the sequences of one handle or several."""
        several: Any = [handles] if isinstance(handles, (int, np.integer)) else handles
        try:
            return [self.by_handle[handle] for handle in several]
        except (KeyError, TypeError):
            raise _unknown(handles, "sequences", call) from None

    def one(self, handle: Any, call: str) -> Sequence:
        """Return the sequence of a handle."""
        try:
            return self.by_handle[handle]
        except (KeyError, TypeError):
            raise _unknown(handle, "sequence", call) from None

    def begin(self, tokens: NDArray[np.int64] | None) -> int:
        """Begin a sequence, with the pages that are known to begin with these tokens."""
        new = Sequence(self._new_row())
        if tokens is not None:
            new.find(tokens, self.page_size, self.pages)
        return self._add(new, len(new.tokens))

    def fork(self, parent: Sequence) -> int:
        """Begin a sequence with all pages of another."""
        return self._add(parent.fork(self._new_row(), self.pages), int(self.lengths[parent.row]))

    def end(self, handle: int) -> None:
        """End a sequence."""
        one = self.by_handle.pop(handle)
        self.cut(one, 0)
        self._free_rows.append(one.row)

    def clear(self) -> None:
        """End all sequences, and let no page be found again."""
        self.pages = Pages(len(self.pages.users))
        for one in self.by_handle.values():
            self._free_rows.append(one.row)
        self.by_handle.clear()
        self.table[:] = -1
        self.lengths[:] = 0

    def cut(self, one: Sequence, length: int) -> None:
        """Keep the first tokens of a sequence."""
        one.cut(length, self.page_size, self.pages)
        self.table[one.row, len(one.pages) :] = -1
        self.lengths[one.row] = length

    def check_pages(self, several: list[Sequence], before: list[int], after: list[int]) -> None:
        """Refuse an append that there are not enough pages for."""
        needed = 0
        copied: Counter[int] = Counter()
        for one, start, end in zip(several, before, after, strict=True):
            needed += max(0, -(-end // self.page_size) - len(one.pages))
            if end > start and start % self.page_size:
                page = one.pages[start // self.page_size]
                # The last of its users that is about to write keeps it.
                if self.pages.users[page] - copied[page] > 1:
                    copied[page] += 1
                    needed += 1
        if needed > self.pages.free:
            raise OutOfPages(
                f"append: {needed} pages are needed, and {self.pages.free} of "
                f"{len(self.pages.users)} are free.\n  Free or truncate sequences, or make a cache "
                "of more pages."
            )

    def make_room(self, one: Sequence, start: int, end: int) -> None:
        """Give a sequence pages of its own for the tokens from start to end."""
        first, used = divmod(start, self.page_size)
        changed = len(one.pages) * self.page_size < end
        if used:
            page = one.pages[first]
            if self.pages.users[page] > 1:
                own = one.pages[first] = self.pages.take()
                at = (slice(None), slice(used))
                self._storage.copy((own, *at), self._storage, (page, *at))
                self.pages.release(page)
                changed = True
            else:
                self.pages.forget(page)
        while len(one.pages) * self.page_size < end:
            one.pages.append(self.pages.take())
        if changed:
            self._write_table(one, first)

    def _add(self, new: Sequence, length: int) -> int:
        self.lengths[new.row] = length
        self._write_table(new, 0)
        handle = self._next
        self._next += 1
        self.by_handle[handle] = new
        return handle

    def _new_row(self) -> int:
        """Find a row of the block table that no sequence has."""
        if not self._free_rows:
            rows = len(self.lengths)
            grown = max(8, 2 * rows)
            table = np.full((grown, self.table.shape[1]), -1, np.int64)
            table[:rows] = self.table
            self.table = table
            self.lengths = np.append(self.lengths, np.zeros(grown - rows, np.int64))
            self._free_rows = list(range(grown - 1, rows - 1, -1))
        return self._free_rows.pop()

    def _write_table(self, one: Sequence, first: int) -> None:
        """Bring the block table up to date from page `first` of a sequence on."""
        width = self.table.shape[1]
        if len(one.pages) > width:
            more = max(len(one.pages), 2 * width) - width
            filler = np.full((len(self.table), more), -1, np.int64)
            self.table = np.concatenate((self.table, filler), axis=1)
        self.table[one.row, first : len(one.pages)] = one.pages[first:]


def _unknown(given: Any, argument: str, call: str) -> ValueError:
    return ValueError(
        f"{call}: {argument} is {given!r}.\n  Give what allocate or fork returned, and free was "
        "not called with."
    )
