"""What a `PagedKVCache` holds: sequences that begin, are read back, are shortened and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.cache import _check
from regard.cache._packing import token_numbers

if TYPE_CHECKING:
    from regard.cache._sequences import Sequences
    from regard.cache._storage import Storage
    from regard.positions._rotation import Rotation


class PagedContents:
    """The methods of a paged cache by which no new numbers come in."""

    __slots__ = (
        "_latent",
        "_rotation",
        "_sequences",
        "_storage",
        "_used",
        "dtype",
        "head_dim",
        "kv_heads",
        "overflow",
        "page_size",
        "pages",
        "value_dim",
    )

    _latent: bool  # values are the first columns of the keys
    _rotation: Rotation | None
    _sequences: Sequences
    _storage: Storage
    _used: bool
    dtype: str
    head_dim: int
    kv_heads: int
    overflow: str
    page_size: int
    pages: int
    value_dim: int

    @property
    def free_pages(self) -> int:
        """Pages that can be taken, those that only a later `allocate` might find included."""
        return self._sequences.pages.free

    @property
    def nbytes(self) -> int:
        """Bytes of keys, values and scales."""
        return self._storage.nbytes

    def length(self, sequence: int) -> int:
        """Tokens of a sequence."""
        return int(self._sequences.lengths[self._sequences.one(sequence, "length").row])

    @property
    def lengths(self) -> dict[int, int]:
        """Tokens of every sequence."""
        of_rows = self._sequences.lengths.tolist()
        return {handle: of_rows[one.row] for handle, one in self._sequences.by_handle.items()}

    def keys(self, sequence: int) -> NDArray[Any]:
        """Return the keys of a sequence as they are stored: rounded, and turned by the rope.

        Parameters
        ----------
        sequence : int

        Returns
        -------
        ndarray of float32, shape (tokens, kv_heads, head_dim)
            A copy; float64 of a float64 cache.

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        return self._read("keys", sequence)

    def values(self, sequence: int) -> NDArray[Any]:
        """Return the values of a sequence as they are stored, rounded.

        Parameters
        ----------
        sequence : int

        Returns
        -------
        ndarray of float32, shape (tokens, kv_heads, value_dim)
            A copy; float64 of a float64 cache.

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        return self._read("values", sequence)

    def _read(self, name: str, sequence: int) -> NDArray[Any]:
        one = self._sequences.one(sequence, name)
        pages = self._storage.numbers(name, (np.array(one.pages, np.int64),))
        by_token = pages.swapaxes(1, 2)
        rows: NDArray[Any] = by_token.reshape(-1, *by_token.shape[2:])
        return rows[: self._sequences.lengths[one.row]]

    def allocate(self, tokens: ArrayLike | None = None) -> int:
        """Begin a sequence.

        Parameters
        ----------
        tokens : array_like of int, shape (n,), optional
            Numbers of the tokens that are about to be appended. If a sequence of the past began
            with the same ones, and was appended with ``tokens=``, the new one begins with its
            pages: as many whole ones as agree, without the last token, whose output a model needs.

        Returns
        -------
        int
            The sequence. Its `length` is the number of tokens that need not be appended.

        Raises
        ------
        ValueError, TypeError
            tokens is not a 1-D array of integers.
        """
        numbers = None if tokens is None else token_numbers(tokens, "allocate")
        return self._sequences.begin(numbers)

    def fork(self, sequence: int) -> int:
        """Begin a sequence with all the tokens of another; they share pages until they differ.

        Parameters
        ----------
        sequence : int

        Returns
        -------
        int
            The new sequence. An append to either may need a page more, for a copy of the last one.

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        return self._sequences.fork(self._sequences.one(sequence, "fork"))

    def free(self, sequence: int) -> None:
        """End a sequence and give its pages back.

        Pages full of known tokens can still be found by `allocate`, until they are needed.

        Parameters
        ----------
        sequence : int

        Raises
        ------
        ValueError
            There is no such sequence.
        """
        self._sequences.one(sequence, "free")
        self._sequences.end(sequence)

    def truncate(self, sequence: int, length: int) -> None:
        """Keep the first tokens of a sequence and forget the later ones.

        Parameters
        ----------
        sequence : int
        length : int

        Raises
        ------
        ValueError
            There is no such sequence, or it has fewer tokens. Nothing has changed.
        """
        one = self._sequences.one(sequence, "truncate")
        length = _check.whole(length, "length", "truncate", 0)
        if length > self._sequences.lengths[one.row]:
            raise ValueError(
                f"truncate: length is {length}, and sequence {sequence} has "
                f"{self._sequences.lengths[one.row]} tokens.\n  Give at most that."
            )
        self._sequences.cut(one, length)

    def clear(self) -> None:
        """End all sequences and forget the known tokens and the rope; the memory stays."""
        self._sequences.clear()
        self._rotation = None
        self._used = False

    def __repr__(self) -> str:
        more = "" if self.value_dim == self.head_dim else f"value_dim={self.value_dim}, "
        more += "" if self.overflow == "raise" else f"overflow={self.overflow!r}, "
        return (
            f"PagedKVCache(pages={self.pages}, page_size={self.page_size}, "
            f"kv_heads={self.kv_heads}, head_dim={self.head_dim}, dtype={self.dtype!r}, {more}"
            f"sequences={len(self._sequences.by_handle)}, free_pages={self.free_pages})"
        )

    def __reduce__(self) -> str:
        raise TypeError(
            f"{type(self).__name__}: a cache cannot be pickled.\n  Each process needs its own."
        )
