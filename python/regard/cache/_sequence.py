"""One sequence of a paged cache: its pages, and the tokens that are known of it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.cache._pages import Pages, page_name


class Sequence:
    """Pages in order, all full but the last one.

    Parameters
    ----------
    row : int
        Where the cache keeps its length and its row of the block table.
    """

    __slots__ = ("names", "pages", "row", "tokens")

    def __init__(self, row: int) -> None:
        self.row = row
        self.pages: list[int] = []
        self.names: list[bytes] = []  # of the leading pages that are full of known tokens
        self.tokens: array[int] = array("q")  # known ones, from the first

    def fork(self, row: int, pages: Pages) -> Sequence:
        """Share all pages."""
        twin = Sequence(row)
        twin.pages, twin.names, twin.tokens = self.pages[:], self.names[:], self.tokens[:]
        for page in self.pages:
            pages.share(page)
        return twin

    def find(self, tokens: NDArray[np.int64], page_size: int, pages: Pages) -> None:
        """Share the pages that begin with these tokens, but for the last token."""
        known = array("q", tokens.tobytes())
        for start in range(0, len(known) - page_size, page_size):
            piece = known[start : start + page_size]
            name = page_name(self.names[-1] if self.names else b"", piece.tobytes())
            page = pages.named(name)
            if page is None:
                break
            pages.share(page)
            self.pages.append(page)
            self.names.append(name)
            self.tokens += piece

    def know(self, before: int, tokens: NDArray[Any] | None, page_size: int, pages: Pages) -> None:
        """Note tokens that were appended behind `before` others; name the pages that they fill."""
        if tokens is None or len(self.tokens) < before:
            return  # a gap: what comes after it has no name
        self.tokens.frombytes(tokens.astype(np.int64).tobytes())
        while (len(self.names) + 1) * page_size <= len(self.tokens):
            start = len(self.names) * page_size
            piece = self.tokens[start : start + page_size].tobytes()
            name = page_name(self.names[-1] if self.names else b"", piece)
            pages.name(self.pages[len(self.names)], name)
            self.names.append(name)

    def cut(self, length: int, page_size: int, pages: Pages) -> None:
        """Keep the first tokens."""
        kept = -(-length // page_size)
        # From the last one: a later page is no use without those before it, so it goes first.
        for page in reversed(self.pages[kept:]):
            pages.release(page)
        del self.pages[kept:], self.names[length // page_size :], self.tokens[length:]
