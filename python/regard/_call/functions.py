"""Functions of scores as the core takes them: an address, or what it calls for a tile of them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Address, user data, and what has to live as long; or None, None, and what is called.
Lowered: TypeAlias = "tuple[int, int, Any] | tuple[None, None, TileFunction]"

_NUMBERS = {"float32": ("float", "float32"), "float64": ("double", "float64")}
_INT64 = (
    "int64", "int64_t", "npy_int64", "npy_intp", "intp", "Py_ssize_t", "ssize_t", "long long",
    *(("long", "long int") if ctypes.sizeof(ctypes.c_long) == 8 else ()),
)  # fmt: skip
_KINDS = {
    **{name: "int64" for name in _INT64},
    **{name: number for number, names in _NUMBERS.items() for name in names},
    "void": "void",
    "None": "void",
    "none": "void",
}


def lowered(function: Any, name: str, dtype: np.dtype[Any]) -> Lowered:
    """Find out what a function of scores is.

    Parameters
    ----------
    function : object
        As `regard.attention` takes it.
    name : {"score_mod", "score_mod_gradient"}
    dtype : dtype
        That scores are computed in.

    Returns
    -------
    tuple
        What the core reads.

    Raises
    ------
    TypeError
        It is no function, or one of another signature.
    """
    number = np.dtype(dtype).name
    if hasattr(function, "address") and hasattr(function, "ctypes"):  # numba.cfunc
        found = _of_ctypes(function.ctypes)
    elif isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        found = _of_ctypes(function)
    elif isinstance(function, tuple) and _is_capsule(first := next(iter(function), None)):
        found = _of_capsule(first)  # scipy.LowLevelCallable, which has no __getitem__
    elif _is_capsule(function):
        found = _of_capsule(function)
    elif callable(function) and not isinstance(function, type):
        return None, None, TileFunction(function, name, np.dtype(dtype))
    else:
        raise TypeError(
            f"attention: {name} is a {type(function).__name__}.\n  Give a compiled function "
            "(numba.cfunc, scipy.LowLevelCallable, ctypes or a PyCapsule), or one of NumPy arrays."
        )
    address, user, signature = found
    wanted = _signature(name, number)
    if _kinds(signature) != _kinds(wanted):
        raise TypeError(
            f"attention: {name} has the signature {signature or 'None (set argtypes)'}.\n  For "
            f"scores in {number} it is {wanted}."
        )
    if not address:
        raise TypeError(f"attention: {name} has the address 0.\n  Give a function that is loaded.")
    return address, user, function


def _signature(name: str, number: str) -> str:
    scalar = _NUMBERS[number][0]
    scores = f"{scalar}*, const {scalar}*" if name.endswith("gradient") else f"{scalar}*"
    return f"void ({scores}, int64_t, int64_t, int64_t, int64_t, int64_t, void*)"


def _kinds(signature: str) -> tuple[str, ...]:
    """Spell what a signature returns and takes in one way."""
    match = re.fullmatch(r"\s*([\w ]+?)\s*\((.*)\)\s*", signature.replace("const ", ""))
    if match is None:
        return ()
    kinds = []
    for word in (match[1], *match[2].split(",")):
        pointers = word.count("*")
        name = word.replace("*", "").strip()
        kinds.append(_KINDS.get(name, name) + "*" * pointers)
    return tuple(kinds)


_CTYPES = {ctypes.c_float: "float", ctypes.c_double: "double", ctypes.c_int64: "int64_t",
           ctypes.c_longlong: "int64_t", ctypes.c_ssize_t: "int64_t", ctypes.c_void_p: "void*",
           None: "void"}  # fmt: skip


def _of_ctypes(function: Any) -> tuple[int, int, str]:
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    if function.argtypes is None:
        return address, 0, ""
    arguments = ", ".join(map(_ctype, function.argtypes))
    return address, 0, f"{_ctype(function.restype)} ({arguments})"


def _ctype(kind: Any) -> str:
    if kind in _CTYPES:
        return _CTYPES[kind]
    to = getattr(kind, "_type_", None)
    pointer = isinstance(kind, type) and issubclass(kind, ctypes._Pointer)
    return f"{_ctype(to)}*" if pointer else getattr(kind, "__name__", str(kind))


def _is_capsule(x: Any) -> bool:
    return type(x).__name__ == "PyCapsule"


def _of_capsule(capsule: Any) -> tuple[int, int, str]:
    """Signature by its name, user data by its context, as SciPy and Cython have them."""

    def ask(function: str, result: Any, *arguments: Any) -> Any:
        call = getattr(ctypes.pythonapi, function)
        call.restype = result
        call.argtypes = (ctypes.py_object, ctypes.c_char_p)[: len(arguments)]
        return call(*arguments)

    name = ask("PyCapsule_GetName", ctypes.c_char_p, capsule)
    address = ask("PyCapsule_GetPointer", ctypes.c_void_p, capsule, name)
    user = ask("PyCapsule_GetContext", ctypes.c_void_p, capsule)
    return address or 0, user or 0, (name or b"").decode()


class TileFunction:
    """What the core calls for a tile of scores, in which ``function`` sees copies of them."""

    def __init__(self, function: Callable[..., Any], name: str, dtype: np.dtype[Any]) -> None:
        self.function, self.name, self.dtype = function, name, dtype

    def fill(
        self, scores: int, slopes: int, ld: int, row: int, rows: int, group: int, head: int,
        key: int, count: int, element: int,
    ) -> None:  # fmt: skip
        """Replace the scores at an address, or the slopes of a gradient, by what comes back.

        Parameters are those of ``regard::ScoreTile``; `slopes` is 0 for a function itself.
        """
        s = self._at(scores, ld, rows, count)
        numbers = np.arange(row, row + rows)[:, np.newaxis]
        heads = head + numbers % group if group > 1 else np.full((1, 1), head)
        keys = np.arange(key, key + count)[np.newaxis]
        place = np.full((1, 1), element), heads, numbers // group, keys
        target = self._at(slopes, ld, rows, count) if slopes else s
        given = (target.copy(), s.copy()) if slopes else (s.copy(),)
        target[...] = self.call(*given, *place)

    def call(self, *arguments: NDArray[Any]) -> NDArray[Any]:
        """Call the function, and refuse what it may not return."""
        shape = arguments[0].shape
        with np.errstate(all="ignore"):  # scores that are hidden may be anything
            found = np.asarray(self.function(*arguments))
        if found.dtype.kind not in "iuf":
            raise TypeError(
                f"attention: {self.name} returned {found.dtype}.\n  Return real numbers."
            )
        if found.shape != shape:
            try:
                found = np.broadcast_to(found, shape)
            except ValueError:
                raise ValueError(
                    f"attention: {self.name} returned shape {found.shape} for scores of {shape}.\n"
                    "  Return one number for each score."
                ) from None
        return found

    def _at(self, address: int, ld: int, rows: int, count: int) -> NDArray[Any]:
        memory = (ctypes.c_char * (((rows - 1) * ld + count) * self.dtype.itemsize)).from_address(
            address
        )
        flat: NDArray[Any] = np.frombuffer(memoryview(memory), self.dtype)
        strides = (ld * self.dtype.itemsize, self.dtype.itemsize)
        return np.lib.stride_tricks.as_strided(flat, (rows, count), strides)
