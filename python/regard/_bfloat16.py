"""bfloat16, which NumPy lacks: what carries it, how that is told, and the rounding itself.

A bfloat16 is the upper half of a float32. Three things stand for an array of them:

- an array of ``ml_dtypes.bfloat16``, with arithmetic and casts, where that package is installed;
- :class:`BFloat16Array`, for users who do not have it;
- an array of :data:`MARKER`, for this package alone. NumPy casts such records by their bits, so
  none is ever given to a user.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

MARKER: np.dtype[Any] = np.dtype([("bfloat16", "<u2")])


def carrier() -> np.dtype[Any]:
    """Return the dtype of ml_dtypes, or the marker where that package is missing."""
    try:
        scalar: type = import_module("ml_dtypes").bfloat16
    except ImportError:
        return MARKER
    return np.dtype(scalar)


def __getattr__(name: str) -> np.dtype[Any]:
    if name != "bfloat16":  # not before it is asked for: ml_dtypes takes a while to import
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    dtype = carrier()
    if dtype == MARKER:
        raise ImportError(
            "regard.bfloat16 is the dtype of the package ml_dtypes, which is not installed.\n  "
            "pip install 'regard[bfloat16]', or use regard.to_bfloat16 and regard.to_float32, "
            "which need no package."
        )
    globals()["bfloat16"] = dtype
    return dtype


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


class BFloat16Array(NDArrayOperatorsMixin):
    """An array of bfloat16 without the package ml_dtypes: storage of two bytes a number.

    Wherever NumPy makes an array of it, in ``np.asarray``, a function or an operator, that is a
    float32 array of its values; anything else NumPy arrays can do is an error. It has ``bits``,
    ``shape``, ``nbytes`` and a length, and can be indexed, which gives views.

    Parameters
    ----------
    bits : ndarray of uint16
        The upper halves of float32 numbers, in any shape and strides; not copied.

    Raises
    ------
    TypeError
        bits is not an array of uint16.

    See Also
    --------
    to_bfloat16 : Rounds numbers to one, or to an array of ml_dtypes where there is that package.

    Notes
    -----
    `regard.attention` reads keys and values where they lie. A query has to be of a type that NumPy
    has, since the result is of that type.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> x = regard.BFloat16Array(np.array([[0x3F80, 0xC000], [0x4040, 0x7FC0]], np.uint16))
    >>> x
    BFloat16Array([[ 1., -2.],
                   [ 3., nan]])
    >>> x[0] + 0.25
    array([ 1.25, -1.75], dtype=float32)
    >>> regard.attention(np.zeros((1, 2), np.float32), x[:1], x[:1])
    array([[ 1., -2.]], dtype=float32)
    """

    __slots__ = ("bits",)

    def __init__(self, bits: NDArray[np.uint16]) -> None:
        if not isinstance(bits, np.ndarray) or bits.dtype != np.uint16 or not bits.dtype.isnative:
            found = bits.dtype if isinstance(bits, np.ndarray) else type(bits).__name__
            raise TypeError(
                f"BFloat16Array: bits is of {found}.\n  Give an array of uint16; to_bfloat16 "
                "rounds numbers."
            )
        self.bits = bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.bits.shape

    @property
    def nbytes(self) -> int:
        """Two bytes for each number."""
        return self.bits.nbytes

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: Any) -> BFloat16Array:
        return BFloat16Array(np.asarray(self.bits[index]))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("BFloat16Array: NumPy has no bfloat16, so its numbers are copied.")
        return widened(self.bits).astype(np.float32 if dtype is None else dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **more: Any) -> Any:
        if method == "at" or any(isinstance(x, BFloat16Array) for x in more.get("out", ())):
            return NotImplemented  # there is nothing to write to: a TypeError
        numbers = [np.asarray(x) if isinstance(x, BFloat16Array) else x for x in inputs]
        return getattr(ufunc, method)(*numbers, **more)

    def __repr__(self) -> str:
        return np.array2string(
            np.asarray(self), separator=", ", prefix="BFloat16Array(", suffix=")"
        ).join(("BFloat16Array(", ")"))


def widened(x: NDArray[Any]) -> NDArray[np.float32]:
    """Widen a bfloat16 array of any strides, or its bits; every value is a float32.

    Examples
    --------
    >>> import numpy as np
    >>> from regard._bfloat16 import MARKER, widened
    >>> widened(np.array([0x3F80, 0xC000], np.uint16).view(MARKER))
    array([ 1., -2.], dtype=float32)
    """
    bits = np.asarray(x.view(np.uint16).astype(np.uint32) << 16)  # an array even of one number
    return bits.view(np.float32)


def narrowed(x: ArrayLike, dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
    """Round float32 numbers to nearest, ties to even; NaN to NaN of the same sign.

    Parameters
    ----------
    x : array_like
        Taken as float32.
    dtype : dtype, optional
        :data:`MARKER` or that of ml_dtypes; by default :func:`carrier`.

    Returns
    -------
    ndarray of that dtype, of the same shape
    """
    wide = np.asarray(x, dtype=np.float32)
    bits = wide.view(np.uint32)
    # Just under half of the last place that stays, and a little more where that place is odd.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding could carry a NaN's payload over into infinity: keep its top, and make it quiet.
    rounded = np.where(np.isnan(wide), bits | np.uint32(0x400000), rounded)
    half = np.asarray(rounded >> np.uint32(16)).astype(np.uint16)
    return half.view(carrier() if dtype is None else dtype)


def rounded(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert to a dtype, bfloat16 among them; the array itself if it has it."""
    if array.dtype == dtype:
        return array
    if is_bfloat16(array.dtype):
        array = widened(array)
    result: NDArray[Any] = narrowed(array, dtype) if is_bfloat16(dtype) else array.astype(dtype)
    return result
