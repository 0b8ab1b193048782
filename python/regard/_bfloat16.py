"""bfloat16 arrays with and without the package ml_dtypes: how they are told, and conversions.

A bfloat16 is the upper half of a float32. NumPy has no such type; two stand for it:

- ``ml_dtypes.bfloat16``, with arithmetic, where that package is installed;
- :data:`MARKER`, a record of one field of 16 bits, which needs no package: a buffer of bits
  becomes such an array by ``bits.view(regard.bfloat16)``. It stores, and does not compute.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MARKER: np.dtype[Any] = np.dtype([("bfloat16", "<u2")])


def _best() -> np.dtype[Any]:
    try:
        scalar: type = import_module("ml_dtypes").bfloat16
    except ImportError:
        return MARKER
    return np.dtype(scalar)


def __getattr__(name: str) -> np.dtype[Any]:
    if name == "bfloat16":  # not before it is asked for: ml_dtypes takes a while to import
        dtype = globals()["bfloat16"] = _best()
        return dtype
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of the two that stand for bfloat16.

    Examples
    --------
    >>> import numpy as np
    >>> from regard._bfloat16 import MARKER, is_bfloat16
    >>> is_bfloat16(MARKER), is_bfloat16(np.dtype(np.float16))
    (True, False)
    """
    return dtype == MARKER or (dtype.kind == "V" and dtype.name == "bfloat16")


def to_float32(x: NDArray[Any]) -> NDArray[np.float32]:
    """Widen a bfloat16 array; every value is a float32.

    Parameters
    ----------
    x : ndarray of bfloat16
        Any strides.

    Returns
    -------
    ndarray of float32, of the same shape

    Examples
    --------
    >>> import numpy as np
    >>> from regard._bfloat16 import MARKER, to_float32
    >>> to_float32(np.array([0x3F80, 0xC000], np.uint16).view(MARKER))
    array([ 1., -2.], dtype=float32)
    """
    wide: NDArray[np.float32] = (x.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return wide


def to_bfloat16(x: ArrayLike, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Round to bfloat16: to nearest, ties to even, NaN to NaN of the same sign.

    Parameters
    ----------
    x : array_like
        Taken as float32.
    dtype : dtype, optional
        Which of the two to return; :data:`bfloat16` by default.

    Returns
    -------
    ndarray of bfloat16, of the same shape

    Examples
    --------
    >>> import numpy as np
    >>> from regard._bfloat16 import to_bfloat16, to_float32
    >>> to_float32(to_bfloat16([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -0.1]))
    array([ 1.        ,  1.        ,  1.015625  , -0.10009766], dtype=float32)
    """
    wide = np.asarray(x, dtype=np.float32)
    bits = wide.view(np.uint32)
    # Just under half of the last place that stays, and a little more where that place is odd.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding could carry a NaN's payload over into infinity: keep its top, and make it quiet.
    rounded = np.where(np.isnan(wide), bits | np.uint32(0x400000), rounded)
    half = np.asarray(rounded >> np.uint32(16)).astype(np.uint16)
    return half.view(_best() if dtype is None else dtype)


def rounded(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert to a dtype, bfloat16 among them; the array itself if it has it."""
    if array.dtype == dtype:
        return array
    if is_bfloat16(array.dtype):
        array = to_float32(array)
    result: NDArray[Any] = to_bfloat16(array, dtype) if is_bfloat16(dtype) else array.astype(dtype)
    return result
