"""``quantize_kv``: keys and values in 8 bits, with a scale for each token and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regard import _core
from regard._bfloat16 import is_bfloat16

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def quantize_kv(x: ArrayLike) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round keys or values to int8, with a float32 scale for each row.

    Parameters
    ----------
    x : array_like, shape (..., heads, length, dim)
        float32, float16 or bfloat16; float64 is rounded to float32 first. Any strides.

    Returns
    -------
    quantized : ndarray of int8, shape (..., heads, length, dim)
        ``x / scale`` to the nearest integer, ties to even; -127 to 127.
    scales : ndarray of float32, shape (..., heads, length)
        ``max(abs(row)) / 127``; 0 for a row of zeros, NaN for a row that holds NaN or infinity.
        For ``key_scales`` or ``value_scales`` of `regard.attention`.

    Raises
    ------
    TypeError
        The array is not of floating point.
    ValueError
        It has no axis.

    Notes
    -----
    ``quantized * scales[..., None]`` is within half a scale of x: an error of at most 1/254 of
    the largest magnitude of the row. `regard.attention` computes with exactly these numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> quantized, scales = regard.quantize_kv(np.array([[[0.0, 1.27, -0.501], [0.0, 0.0, 0.0]]]))
    >>> quantized
    array([[[  0, 127, -50],
            [  0,   0,   0]]], dtype=int8)
    >>> scales
    array([[0.01, 0.  ]], dtype=float32)
    """
    rows = _rows(x)
    quantized = np.zeros(rows.shape, np.int8)
    scales = np.zeros(rows.shape[:-1], np.float32)
    _core.store(rows, quantized, scales)
    return quantized, scales


def _rows(x: Any) -> NDArray[Any]:
    array = np.asarray(x)
    if array.dtype.kind != "f" and not is_bfloat16(array.dtype):
        raise TypeError(
            f"quantize_kv: x has dtype {array.dtype}, shape {array.shape}.\n  Give floating-point "
            "keys or values."
        )
    if array.ndim == 0:
        raise ValueError("quantize_kv: x has no axis.\n  Give (..., heads, length, dim).")
    if is_bfloat16(array.dtype) or (array.dtype.char in "ef" and array.dtype.isnative):
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
