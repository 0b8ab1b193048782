"""What happens to arguments that are not plain NumPy arrays of a supported type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regard import _core
from regard._bfloat16 import MARKER, BFloat16Array, carrier, is_bfloat16

if TYPE_CHECKING:
    from numpy.typing import NDArray


def coerce(value: Any, argument: str, role: str) -> NDArray[Any]:
    """Make an array of an argument, without copying where its memory can be used as it is.

    Parameters
    ----------
    value : array_like
        Anything NumPy can make an array of, or a CPU tensor that speaks DLPack.
    argument : str
        Name of the argument, for messages.
    role : {"input", "stored", "scales", "mask", "bits", "bias", "numbers", "lengths"}
        What it is used for: integers and bools become float64 as an input or a bias, but int8
        that is stored with scales stays. The dtype of an input may be that of a result.

    Returns
    -------
    ndarray
        An array of a type that the core knows by name.

    Raises
    ------
    TypeError
        The argument has no such type.
    ImportError
        A result would be of a type that only ml_dtypes has.
    """
    array = _to_numpy(value, argument)
    kind = array.dtype.kind
    if not array.dtype.isnative:
        raise TypeError(
            f"attention: {argument} has the other byte order (dtype {array.dtype.str}).\n"
            f"  Convert it with {argument}.astype({argument}.dtype.newbyteorder('='))."
        )
    if role == "lengths":
        if kind not in "iu":
            raise TypeError(f"attention: {argument} has dtype {array.dtype}.\n  Give integers.")
        if array.dtype == np.uint64:
            array = np.minimum(array, np.uint64(2**63 - 1))  # as int64 does, not around its end
        return array.astype(np.int64)
    if role == "mask":
        if kind != "b":
            raise _unsupported(array, argument, "bool, True = attend")
        return array
    if role == "bits":
        return array
    if role == "stored" and array.dtype == np.int8:
        return array
    if kind in "iub":
        if role == "bias" and kind == "b":
            raise TypeError(
                f"attention: {argument} has dtype bool.\n  A bool array goes in mask=; a bias is "
                "added to the scores."
            )
        return array.astype(np.float64)
    if array.dtype.char not in "efd":
        if not is_bfloat16(array.dtype):
            raise _unsupported(array, argument, "float32, float64, float16 or bfloat16")
        if role == "input" and array is not value and array.dtype == MARKER:
            raise ImportError(
                f"attention: {argument} is bfloat16, and so is a result, which NumPy can hold only "
                f"with the package ml_dtypes.\n  pip install 'regard[bfloat16]', or give "
                f"regard.to_float32({argument})."
            )
    return array


def _to_numpy(value: Any, argument: str) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"attention: {argument} is a masked array.\n  Give its data, and where it is valid "
            "as mask=."
        )
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, BFloat16Array):
        return value.bits.view(carrier())
    if hasattr(value, "__dlpack__"):
        try:
            return _from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise TypeError(
                f"attention: {argument} is a {type(value).__name__} whose memory cannot be used: "
                f"{error}\n  Give a tensor on the CPU, detached from any graph, of a dtype that "
                "NumPy has, or bfloat16."
            ) from error
    try:
        return np.asarray(value)
    except ValueError as error:
        raise TypeError(
            f"attention: {argument} cannot be made an array: {error}\n  Give an array or a nested "
            "sequence of numbers."
        ) from error


def _from_dlpack(tensor: Any) -> NDArray[Any]:
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError):
        bits = _core.bits_of_bfloat16(tensor.__dlpack__())  # which NumPy does not have
    return bits.view(carrier())


def _unsupported(array: NDArray[Any], argument: str, wanted: str) -> TypeError:
    return TypeError(
        f"attention: {argument} has dtype {array.dtype}, shape {array.shape}.\n  Use {wanted}."
    )


def check_out(
    out: Any, inputs: tuple[tuple[str, NDArray[Any]], ...], argument: str = "out"
) -> None:
    """Refuse an ``out`` that is no array, or shares memory with itself or an input.

    Parameters
    ----------
    out : object
        What the caller gave.
    inputs : tuple of (str, ndarray)
        The arrays that are read while ``out`` is written, with their names.
    argument : str, default "out"
        Its name, for messages.

    Raises
    ------
    TypeError
        ``out`` is not an array.
    ValueError
        Writing it would change an input, or one of its own elements twice.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"attention: {argument} is a {type(out).__name__}.\n  Give a NumPy array to write into."
        )
    if _overlaps_itself(out):
        raise ValueError(
            f"attention: {argument} overlaps itself (shape {out.shape}, strides {out.strides}).\n"
            "  Give an array in which every element has its own place."
        )
    for name, array in inputs:
        if np.may_share_memory(out, array) and _shares_memory(out, array):
            raise ValueError(
                f"attention: {argument} shares memory with {name}.\n"
                f"  {argument}  {out.shape} {out.dtype}\n  {name}  {array.shape} {array.dtype}\n"
                f"  Inputs are read while {argument} is written: give an array of its own."
            )


def _shares_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    try:
        # NumPy's stubs know two values of max_work; its documentation any number.
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type, unused-ignore]
    except np.exceptions.TooHardError:
        return True  # not provably apart


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Whether strides fold elements onto each other, sorted from the innermost axis outwards."""
    if array.size == 0:
        return False
    reach = array.itemsize
    axes = sorted(
        (abs(stride), size)
        for stride, size in zip(array.strides, array.shape, strict=True)
        if size > 1
    )
    for stride, size in axes:
        if stride < reach:
            return True
        reach = stride * (size - 1) + reach
    return False


def int64(value: Any) -> int:
    """Cut a whole number to what 64 bits hold; beyond that, limits are all the same."""
    return max(-(2**63), min(2**63 - 1, int(value)))
