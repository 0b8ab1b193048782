"""``to_bfloat16`` and ``to_float32``: casts that are right whether or not ml_dtypes is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regard._arrays import coerce
from regard._bfloat16 import MARKER, BFloat16Array, carrier, is_bfloat16, narrowed, widened

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def to_bfloat16(x: ArrayLike) -> Any:
    """Round numbers to bfloat16: to nearest, ties to even; NaN stays NaN.

    Parameters
    ----------
    x : array_like
        Of any shape, strides and float type, or a CPU tensor that speaks DLPack; float64 is
        rounded to float32 first. Beyond the largest number, about 3.39e38, lies infinity.

    Returns
    -------
    ndarray of `regard.bfloat16`, or BFloat16Array
        The latter where the package ml_dtypes is not installed. Of the same shape; a copy.

    Raises
    ------
    TypeError
        x cannot be made an array of numbers.

    See Also
    --------
    to_float32 : The way back.
    quantize_kv : Keys and values in one byte.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> x = regard.to_bfloat16([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -0.1, np.nan])
    >>> x.nbytes
    10
    >>> regard.to_float32(x)
    array([ 1.        ,  1.        ,  1.015625  , -0.10009766,         nan],
          dtype=float32)
    """
    dtype = carrier()
    half = narrowed(_float32(x, "to_bfloat16"), dtype)
    return BFloat16Array(half.view(np.uint16)) if dtype == MARKER else half


def to_float32(x: ArrayLike) -> NDArray[np.float32]:
    """Make numbers of any type float32, those of bfloat16 among them, which all are float32.

    Parameters
    ----------
    x : array_like
        Of any shape and strides: an array of `regard.bfloat16`, a `BFloat16Array`, a CPU tensor
        that speaks DLPack, or anything of numbers. float64 is rounded.

    Returns
    -------
    ndarray of float32, of the same shape
        A copy, unless x is a float32 array.

    Raises
    ------
    TypeError
        x cannot be made an array of numbers.

    See Also
    --------
    to_bfloat16 : The way there.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> regard.to_float32(regard.to_bfloat16(np.pi))
    array(3.140625, dtype=float32)
    """
    return _float32(x, "to_float32")


def _float32(x: ArrayLike, call: str) -> NDArray[np.float32]:
    try:
        array = coerce(x, "x", "stored")
    except TypeError as error:
        raise TypeError(f"{call}: {str(error).removeprefix('attention: ')}") from error
    if is_bfloat16(array.dtype):
        return widened(array)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)
