"""Which pages are taken, by how many sequences, and which hold the beginning of a known text.

A page is in one of three states: blank; taken, by one sequence or more; or idle, taken by none but
kept because it holds known tokens, until a blank page is wanted and there is none.

A full page of known tokens has a name, a hash of its tokens and of all before them. Who starts with
the same tokens finds it by that name.
"""

from __future__ import annotations

from hashlib import blake2b

# Bytes of a name: two texts have the same one by chance once in 2**128.
_NAME_BYTES = 16


class OutOfPages(ValueError):
    """There are fewer free pages than an operation on a `PagedKVCache` needs."""


def page_name(parent: bytes, tokens: bytes) -> bytes:
    """Name of a page of these tokens, behind the page of name `parent`."""
    return blake2b(parent + tokens, digest_size=_NAME_BYTES).digest()


class Pages:
    """Reference counts and names of pages.

    Parameters
    ----------
    count : int
    """

    __slots__ = ("_blank", "_idle", "_names", "_pages", "users")

    def __init__(self, count: int) -> None:
        self.users = [0] * count
        self._blank = list(range(count - 1, -1, -1))
        self._idle: dict[int, None] = {}  # ordered: the one longest unused comes first
        self._names: dict[int, bytes] = {}
        self._pages: dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """How many pages can be taken."""
        return len(self._blank) + len(self._idle)

    def take(self) -> int:
        """Take a page, whose content does not matter."""
        if self._blank:
            page = self._blank.pop()
        else:
            page = next(iter(self._idle))
            del self._idle[page]
            self.forget(page)
        self.users[page] = 1
        return page

    def share(self, page: int) -> None:
        """Take a page with its content."""
        self._idle.pop(page, None)
        self.users[page] += 1

    def release(self, page: int) -> None:
        """Give a page back."""
        self.users[page] -= 1
        if not self.users[page]:
            if page in self._names:
                self._idle[page] = None
            else:
                self._blank.append(page)

    def named(self, name: bytes) -> int | None:
        """Return the page of this name."""
        return self._pages.get(name)

    def name(self, page: int, name: bytes) -> None:
        """Let a full page be found by its name, unless another one is."""
        if name not in self._pages:
            self._pages[name] = page
            self._names[page] = name

    def forget(self, page: int) -> None:
        """Let a page no longer be found: its content is about to change."""
        name = self._names.pop(page, None)
        if name is not None:
            del self._pages[name]
