"""What workers run: attention of a part, its gradients, and how states and sums are put together.

A state is (out, lse) of some queries over some keys, out not rounded to 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from regard import _core
from regard._bfloat16 import rounded
from regard._call.core_options import core_options
from regard._casts import to_float32
from regard._merge import merge_states
from regard.dask._options import Origin
from regard.gradients._call import DifferentiableCall
from regard.gradients._pull_back import pull_back

Array: TypeAlias = NDArray[Any]
State: TypeAlias = tuple[Array, Array]

# Numbers merged at a time: 512 KiB in float64, which an L2 holds.
_BLOCK = 2**16
_FLOATS = ("query", "bias", "dout", "out")  # of the type that the query is computed in


def widened(array: Array) -> Array:
    """Make 16-bit floats float32, so that no part is rounded to them; scaled int8 stays."""
    return to_float32(array) if array.dtype.itemsize == 2 else array


@dataclass(frozen=True)
class Attend:
    """Attention of a part.

    Attributes
    ----------
    names : tuple of str
        What the arrays are that it is called with, query, key and value first.
    options : dict
        The others.
    origin : Origin, optional
    """

    names: tuple[str, ...]
    options: dict[str, Any]
    origin: Origin | None = None

    def __call__(self, *arrays: Array) -> State:
        """Return the state."""
        by_name = dict(zip(self.names, arrays, strict=True))
        for name in _FLOATS:
            if name in by_name:
                by_name[name] = widened(by_name[name])
        query, key, value = (by_name.pop(name) for name in ("query", "key", "value"))
        core: dict[str, Any] = {**core_options(query, key, {**self.options, **by_name})}
        if self.origin is not None:
            core.update(self.origin.core())
        out, lse = _core.attention(query, key, value, core or None, True, None)  # type: ignore[arg-type]
        return out, lse


@dataclass(frozen=True)
class Nothing:
    """The state of queries that no part of the keys is for."""

    shape: tuple[int, ...]
    options: dict[str, Any]
    dtype: np.dtype[Any]

    def __call__(self) -> State:
        """Return zeros, and the sinks as LSE."""
        rows, empty = (*self.shape[:-1], 1), (*self.shape[:-3], 1, 0, 1)
        query = np.broadcast_to(np.zeros((), self.dtype), rows)
        kept = {n: x for n, x in self.options.items() if n in ("sinks", "query_lengths")}
        keys = np.zeros(empty[-len(rows) :], self.dtype)
        _, lse = Attend(("query", "key", "value"), kept)(query, keys, keys)
        return np.zeros(self.shape, self.dtype), lse


@dataclass(frozen=True)
class Merge:
    """Attention over all keys of several states, in their order.

    Attributes
    ----------
    dtype : dtype, optional
        float32 or float64, of the last merge. Those before keep float64, so that a tree of merges
        rounds no more than one.
    """

    dtype: np.dtype[Any] | None = None

    def __call__(self, states: Sequence[State]) -> State:
        """Return the state of all."""
        outs, lses = zip(*states, strict=True)
        if len(states) == 1:
            return states[0] if self.dtype is None else self._rounded(*states[0])
        dtype = np.dtype(np.float64) if self.dtype is None else self.dtype
        out, lse = np.empty(outs[0].shape, dtype), np.empty(lses[0].shape, dtype)
        rows, dim = lse.size, out.shape[-1]
        flat = [x.reshape(rows, dim) for x in outs], [x.reshape(rows) for x in lses]
        into = out.reshape(rows, dim), lse.reshape(rows)
        step = max(1, _BLOCK // max(1, dim))
        for start in range(0, rows, step):
            some = slice(start, start + step)
            parts, logs = ([x[some] for x in arrays] for arrays in flat)
            parts[0], logs[0] = parts[0].astype(np.float64), logs[0].astype(np.float64)
            into[0][some], into[1][some] = merge_states(parts, logs)
        return out, lse

    def _rounded(self, out: Array, lse: Array) -> State:
        return out.astype(self.dtype, copy=False), lse.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Take:
    """One of several results, in its final type."""

    index: int
    dtype: np.dtype[Any] | None = None

    def __call__(self, results: Sequence[Array]) -> Array:
        """Return it."""
        found = results[self.index]
        return found if self.dtype is None else rounded(found, self.dtype)


@dataclass(frozen=True)
class Backward:
    """Gradients of a part, from output and LSE over all keys.

    Attributes
    ----------
    names, options, origin
        As of `Attend`; ``dout``, ``out``, ``lse`` and ``dlse`` are among the names.
    wrt : tuple of str
        Inputs whose gradients are wanted.
    """

    names: tuple[str, ...]
    options: dict[str, Any]
    origin: Origin | None
    wrt: tuple[str, ...]

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        """Return them in the order of wrt."""
        by_name = {n: widened(x) for n, x in zip(self.names, arrays, strict=True)}
        query, key, value = (by_name.pop(name) for name in ("query", "key", "value"))
        dout, out, lse = (by_name.pop(name) for name in ("dout", "out", "lse"))
        dlse = by_name.pop("dlse", None)
        options = {**self.options, **by_name}
        call = DifferentiableCall("attention_vjp", query, key, value, options)
        if self.origin is not None:
            call.options.update(self.origin.core())  # type: ignore[typeddict-item]
        return tuple(pull_back(call, out, lse, dout, dlse, self.wrt, None, False))


@dataclass(frozen=True)
class Sum:
    """A sum of gradients in their order, in float64; rounded to a type where it is the last."""

    dtype: np.dtype[Any] | None = None

    def __call__(self, parts: Sequence[Array]) -> Array:
        """Return it."""
        total = np.array(parts[0], np.float64)
        for part in parts[1:]:
            total += part
        return total if self.dtype is None else rounded(total, self.dtype)


@dataclass(frozen=True)
class Zeros:
    """The gradient by what no part reads."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __call__(self) -> Array:
        """Return it."""
        return np.zeros(self.shape, self.dtype)
