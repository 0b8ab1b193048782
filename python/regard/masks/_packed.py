"""A mask of one bit a position."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class PackedMask:
    """A mask with eight positions in each byte, for ``mask=`` of `regard.attention`.

    It takes an eighth of the memory of a bool array and means the same: bit ``j % 8`` of byte
    ``j // 8`` of row i, counted from the lowest, tells whether query i sees key j.

    Parameters
    ----------
    bits : array_like of uint8, shape (..., Sq, ceil(keys / 8))
        As ``np.packbits(mask, axis=-1, bitorder="little")``. Read where it lies, unless the last
        axis is strided. The axes before the last broadcast like those of a bool mask.
    keys : int
        How many keys the mask covers. Bits beyond must be 0.

    Attributes
    ----------
    bits : ndarray of uint8, shape (..., Sq, ceil(keys / 8))
    keys : int
    shape : tuple of int
        (..., Sq, keys), the shape of the bool array that this stands for.
    ndim : int

    Raises
    ------
    TypeError
        bits is not uint8, or keys not a whole number.
    ValueError
        The last axis of bits does not fit keys, or a bit beyond them is set.

    See Also
    --------
    BlockMask : Keeps whole tiles out of memory and out of the computation.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> sees = np.random.default_rng(0).random((100, 100)) < 0.3
    >>> mask = regard.PackedMask.from_dense(sees)
    >>> mask
    PackedMask(shape=(100, 100), bytes=1300)
    >>> bool((mask.to_dense() == sees).all())
    True
    """

    __array_ufunc__ = None  # NumPy leaves its operators to us, and so raises TypeError

    def __init__(self, bits: ArrayLike, keys: int) -> None:
        array = np.asarray(bits)
        if array.dtype != np.uint8:
            raise TypeError(
                f"PackedMask: bits has dtype {array.dtype}.\n  Give uint8, as np.packbits(mask, "
                'axis=-1, bitorder="little") does; PackedMask.from_dense takes the mask itself.'
            )
        if isinstance(keys, bool) or not isinstance(keys, (numbers.Integral, np.integer)):
            raise TypeError(f"PackedMask: keys is {keys!r}.\n  Give the number of keys.")
        keys = int(keys)
        if array.ndim == 0 or keys < 0 or array.shape[-1] != -(-keys // 8):
            raise ValueError(
                f"PackedMask: bits of shape {array.shape} do not hold {keys} keys.\n"
                "  Its last axis has ceil(keys / 8) bytes."
            )
        # The core may take eight keys at a time, so it must find nothing behind the last one.
        if keys % 8 and (array[..., -1] >> (keys % 8)).any():
            raise ValueError(
                f"PackedMask: bits beyond key {keys - 1} are set.\n  Clear them, as np.packbits "
                "leaves them."
            )
        if array.size and array.shape[-1] > 1 and array.strides[-1] != 1:
            array = np.ascontiguousarray(array)
        self.bits: NDArray[np.uint8] = array
        self.keys: int = keys

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., Sq, keys), the shape of the bool array that this stands for."""
        return (*self.bits.shape[:-1], self.keys)

    @property
    def ndim(self) -> int:
        """Length of `shape`."""
        return self.bits.ndim

    @classmethod
    def from_dense(cls, mask: ArrayLike) -> PackedMask:
        """Pack a bool mask.

        Parameters
        ----------
        mask : array_like of bool, shape (..., Sq, Sk)
            True = attend.

        Returns
        -------
        PackedMask

        Raises
        ------
        TypeError
            mask is not bool.
        ValueError
            mask has no axis.

        Examples
        --------
        >>> import regard
        >>> regard.PackedMask.from_dense([True, False, True]).bits
        array([5], dtype=uint8)
        """
        array = as_bool(mask, "PackedMask.from_dense")
        if array.ndim == 0:
            raise ValueError(
                "PackedMask.from_dense: mask has no axis.\n  Give an array of (..., Sq, Sk)."
            )
        return cls(np.packbits(array, axis=-1, bitorder="little"), array.shape[-1])

    def to_dense(self) -> NDArray[np.bool_]:
        """Unpack into a bool array of `shape`.

        Returns
        -------
        ndarray of bool, shape (..., Sq, keys)

        Examples
        --------
        >>> import numpy as np
        >>> import regard
        >>> regard.PackedMask(np.array([5], np.uint8), keys=3).to_dense()
        array([ True, False,  True])
        """
        dense = np.unpackbits(self.bits, axis=-1, count=self.keys, bitorder="little")
        return dense.view(np.bool_)

    def __repr__(self) -> str:
        return f"PackedMask(shape={self.shape}, bytes={self.bits.nbytes})"


def as_bool(mask: Any, caller: str) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise TypeError(f"{caller}: mask has dtype {array.dtype}.\n  Give bool, True = attend.")
    return array
