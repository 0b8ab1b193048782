"""`pack` and `unpack`: texts of different lengths as rows of one array, without padding."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]


def pack(arrays: Iterable[ArrayLike]) -> tuple[Array, NDArray[np.int64]]:
    """Put arrays of different lengths one behind the other.

    Parameters
    ----------
    arrays : iterable of array_like, shape (length, ...)
        Alike but for their lengths, which may be 0: rows of features, or numbers of tokens.

    Returns
    -------
    rows : ndarray, shape (total, ...)
    offsets : ndarray of int64, shape (pieces + 1,)
        Piece n is ``rows[offsets[n] : offsets[n + 1]]``: what layers take as ``offsets=``, and
        `regard.varlen_attention` as ``cu_seqlens``.

    Raises
    ------
    ValueError
        There is no array, or they differ in more than their length.
    TypeError
        Their dtypes differ.

    See Also
    --------
    unpack : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> rows, offsets = nn.pack([np.ones((3, 2)), np.zeros((1, 2))])
    >>> rows.shape, offsets
    ((4, 2), array([0, 3, 4]))
    """
    pieces = [np.asarray(array) for array in arrays]
    if not pieces:
        raise ValueError("pack: there are no arrays.\n  Give at least one.")
    first = pieces[0]
    for number, piece in enumerate(pieces):
        if piece.ndim < 1 or piece.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"pack: array {number} has shape {piece.shape}, and array 0 {first.shape}.\n  Only "
                "the first axis, the tokens, may differ."
            )
        if piece.dtype != first.dtype:
            raise TypeError(
                f"pack: array {number} has dtype {piece.dtype}, and array 0 {first.dtype}.\n  Give "
                "all in one dtype."
            )
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return np.concatenate(pieces), offsets


def unpack(rows: ArrayLike, offsets: ArrayLike) -> list[Array]:
    """Cut packed rows into their pieces.

    Parameters
    ----------
    rows : array_like, shape (total, ...)
    offsets : array_like of int, shape (pieces + 1,)

    Returns
    -------
    list of ndarray
        Views of rows.

    Raises
    ------
    ValueError, TypeError
        The offsets do not begin at 0, fall, or do not end at the total.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> nn.unpack(np.arange(5), [0, 3, 5])
    [array([0, 1, 2]), array([3, 4])]
    """
    array = np.asarray(rows)
    cuts = as_offsets(offsets, "offsets", array, "unpack")
    return [array[a:b] for a, b in pairwise(cuts)]


def as_offsets(
    offsets: ArrayLike, name: str, rows: Array, call: str = "MultiHeadAttention"
) -> NDArray[np.int64]:
    """Check offsets of packed rows (total, ...).

    Raises
    ------
    ValueError, TypeError
        They are none of these rows.
    """
    cuts = np.asarray(offsets)
    if cuts.dtype.kind not in "iu":
        raise TypeError(f"{call}: {name} has dtype {cuts.dtype}.\n  Give integers.")
    total = len(rows)
    sound = cuts.ndim == 1 and len(cuts) > 0 and cuts[0] == 0 and cuts[-1] == total
    if not sound or (np.diff(cuts) < 0).any():
        shown = np.array2string(cuts, threshold=8)
        raise ValueError(
            f"{call}: {name} is {shown}, and there are {total} packed rows.\n  Give (pieces + 1,) "
            "integers that begin at 0, never fall, and end at the number of rows."
        )
    if rows.ndim == 4:
        raise ValueError(
            f"{call}: {name} with a batch of {total}.\n  Packed rows are (total, features)."
        )
    return cuts.astype(np.int64, copy=False)
