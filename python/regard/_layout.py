"""The order of axes that a caller has: views with heads in front of tokens, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


class Layout:
    """What each axis of query, key, value and of the output is.

    Parameters
    ----------
    letters : str
        A permutation of BHSD or HSD: batch, heads, sequence, dim.
    function : str
        Who asks, for messages.

    Raises
    ------
    ValueError
        It is none.
    """

    def __init__(self, letters: Any, function: str = "attention") -> None:
        self.letters, self._function = letters, function
        if not isinstance(letters, str) or sorted(letters) not in map(sorted, ("BHSD", "HSD")):
            raise ValueError(
                f"{function}: layout is {letters!r}.\n  Name the axes of query, key and value in "
                "their order: B for batch, H for heads, S for the sequence, D for the dimension, "
                "as in 'BSHD' or 'SHD'."
            )
        self._canonical = "BHSD" if "B" in letters else "HSD"

    def by_head(self, array: Array, argument: str = "", *, rows: bool = False) -> Array:
        """View an array of the caller's as (batch, heads, tokens, dim); of rows, without dim.

        Raises
        ------
        ValueError
            It has another number of axes than there are letters.
        """
        theirs, ours = self._letters(rows)
        if array.ndim != len(theirs):
            raise ValueError(
                f"{self._function}: {argument} has shape {array.shape}, and layout "
                f"{self.letters!r} is of {len(theirs)} axes{' without D' if rows else ''}.\n"
                "  Give one letter for each axis."
            )
        return _transposed(array, theirs, ours)

    def as_given(self, array: Array, *, rows: bool = False) -> Array:
        """View an array of ours in the caller's order."""
        theirs, ours = self._letters(rows)
        return _transposed(array, ours, theirs)

    def empty_output(self, query: Array, key: Array, value: Array) -> Array:
        """Memory of an output that is contiguous in the caller's order, viewed by head."""
        batch = [x.shape[:-3] for x in (query, key, value)]
        try:
            whole = (*np.broadcast_shapes(*batch), *query.shape[-3:-1], value.shape[-1])
        except ValueError:  # which the core says better
            whole = (*batch[0], *query.shape[-3:-1], value.shape[-1])
        sizes = dict(zip(self._canonical, whole, strict=True))
        theirs = np.empty([sizes[letter] for letter in self.letters], query.dtype)
        return self.by_head(theirs)

    def _letters(self, rows: bool) -> tuple[str, str]:
        theirs, ours = self.letters, self._canonical
        return (theirs.replace("D", ""), ours.replace("D", "")) if rows else (theirs, ours)


def _transposed(array: Array, order: str, wanted: str) -> Array:
    view: Array = array.transpose([order.index(letter) for letter in wanted])
    return view
