"""A call whose gradients are wanted: its arrays as the core takes them, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import check_out, coerce
from regard._bfloat16 import is_bfloat16, to_bfloat16, to_float32
from regard._call.conversions import check_names, core_options
from regard._varlen import packed_options

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Result:
    """An array that the core adds a gradient to, and what becomes of it."""

    target: NDArray[Any]
    finish: Callable[[], NDArray[Any]]


class Call:
    """The arguments of a call, as arrays that stay as they are."""

    def __init__(
        self,
        function: str,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        options: dict[str, Any],
        starts: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        for name in ("return_lse", "out"):
            if name in options:
                raise TypeError(
                    f"attention: {name} is no option of a call with gradients.\n  Leave it out; "
                    "the LSE is vjp.lse, and buffers for gradients are given to vjp."
                )
        for name in ("block_table", "key_scales", "value_scales"):
            if options.get(name) is not None:
                raise ValueError(
                    f"attention: there are no derivatives with {name}.\n  Give key and value as "
                    "arrays of floats."
                )
        check_names(function, options)
        self.packed = starts is not None
        self.given = {name: x for name, x in options.items() if x is not None}
        if starts is None:
            arrays = zip((query, key, value), ("query", "key", "value"), strict=True)
            self.query, self.key, self.value = (coerce(x, name, "input") for x, name in arrays)
            self.options = core_options(self.query, **options)
        else:
            self.query, self.key, self.value, self.options = packed_options(
                query, key, value, *starts, options
            )
        self.computed = np.dtype(np.float64 if self.query.dtype == np.float64 else np.float32)
        if "bias" in self.options:
            self.options["bias"] = coerce(self.options["bias"], "bias", "bias")

    def forward(self) -> tuple[Array, Array]:
        """Output, as the caller wants it, and LSE."""
        out, lse = _core.attention(
            self.query, self.key, self.value, self.options or None, True, None
        )
        return self.by_head(out), lse

    def by_head(self, array: Array) -> Array:
        """Between (total, heads, dim) and (heads, total, dim), for packed arrays."""
        return array.swapaxes(0, 1) if self.packed else array

    def upstream(self, array: ArrayLike, argument: str, like: Array) -> Array:
        """Return a derivative by the output or the LSE as the core takes it."""
        given = coerce(array, argument, "input")
        if given.shape != like.shape:
            what = "output" if argument == "dout" else "LSE"
            raise ValueError(
                f"attention: {argument} has shape {given.shape}; the {what} has {like.shape}.\n"
                f"  Give the derivative by each number of the {what}."
            )
        given = rounded(given, like.dtype)
        return self.by_head(given) if given.ndim == 3 and argument == "dout" else given

    def result(self, name: str, buffer: Array | None, accumulate: bool) -> Result:
        """Where the gradient of an input goes."""
        shape, dtype = self._shape_and_dtype(name)
        if buffer is not None:
            # Gradients of 16-bit inputs may as well be kept as they are computed.
            dtypes = {dtype, self.computed} if dtype.itemsize == 2 else {dtype}
            _check_buffer(name, buffer, shape, dtypes)
        of_array = name in ("query", "key", "value")
        whole = self._whole(getattr(self, name)) if of_array else shape
        numbers = name in ("sinks", "alibi_slopes", "position_bias")
        own = np.zeros(shape, self.computed) if buffer is None else buffer
        if not numbers and np.prod(whole) == np.prod(shape) and own.dtype == self.computed:
            # Axes of one are put in front: never a copy, whatever the strides.
            view = (self.by_head(own) if of_array else own).reshape(whole)
            return Result(view, lambda: rounded(own, dtype) if buffer is None else own)
        if numbers:
            target, to_shape = self._of_numbers(name, shape)
        else:
            target = np.zeros(whole, self.computed)

            def to_shape(total: Array) -> Array:
                return self._from_whole(total, shape)

        def finish() -> Array:
            total = to_shape(target)
            if buffer is None:
                return rounded(total, dtype)
            if accumulate:
                total = total + rounded(buffer, total.dtype)
            buffer[...] = rounded(total, buffer.dtype)
            return buffer

        return Result(target, finish)

    def _whole(self, like: Array) -> tuple[int, ...]:
        """Shape of an input with all batch axes, as the core has it."""
        rank3 = (1,) * (3 - like.ndim) + like.shape
        return rank3 if self.packed else (*self._batch(), *rank3[-3:])

    def _from_whole(self, total: Array, shape: tuple[int, ...]) -> Array:
        """Sum over the batch axes that an input was broadcast along."""
        if total.shape == shape:
            return total
        if self.packed:
            return self.by_head(total)
        rank3 = (1,) * (3 - len(shape)) + shape
        return _sum_to(total, rank3).reshape(shape)

    def check_apart(
        self, buffers: dict[str, Array], others: tuple[tuple[str, Array | None], ...]
    ) -> None:
        """Refuse buffers that share memory with each other or with what is read."""
        arrays = [(name, x) for name, x in others if x is not None]
        arrays += [("query", self.query), ("key", self.key), ("value", self.value)]
        arrays += [(n, x) for n, x in self.options.items() if isinstance(x, np.ndarray)]
        for name, buffer in buffers.items():
            check_out(buffer, tuple(arrays), f"out[{name!r}]")
            arrays.append((f"out[{name!r}]", buffer))

    def _shape_and_dtype(self, name: str) -> tuple[tuple[int, ...], Any]:
        """Those of an input and its gradient, as the caller sees them."""
        if name in ("query", "key", "value"):
            array = self.by_head(getattr(self, name))
            return array.shape, array.dtype
        given = self.given[name]
        array = given.table if name == "position_bias" else coerce(given, name, "bias")
        return array.shape, array.dtype if array.dtype.kind not in "iub" else np.dtype(np.float64)

    def with_batch(self, array: Array) -> Array:
        """Broadcast an array of an input's shape to all batch axes."""
        rank3 = array.reshape((1,) * (3 - array.ndim) + array.shape)
        return np.broadcast_to(rank3, (*self._batch(), *rank3.shape[-3:]))

    def _batch(self) -> tuple[int, ...]:
        arrays = self.query, self.key, self.value
        return np.broadcast_shapes(*(x.shape[:-3] for x in arrays))

    def _of_numbers(
        self, name: str, shape: tuple[int, ...]
    ) -> tuple[Array, Callable[[Array], Array]]:
        """Make a float64 array for the core, and what brings it into the input's shape."""
        heads = self.query.shape[-3] if self.query.ndim > 2 else 1
        if name == "sinks":
            return np.zeros(heads), lambda total: _sum_to(total, shape)
        if name == "alibi_slopes":
            batch = (
                (len(np.asarray(self.options["cu_seqlens_q"])) - 1,)
                if self.packed
                else self._batch()
            )
            whole = np.zeros((int(np.prod(batch)), heads))
            return whole, lambda total: _sum_to(total.reshape(*batch, heads), shape)
        bias = self.given["position_bias"]
        table = self.options["position_bias"][0]
        return np.zeros(table.shape), bias.from_lowered


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes that `shape` was broadcast along."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    total: Array = x.sum(axis=ones, keepdims=True)
    return total


def rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    """Convert to a dtype, bfloat16 among them; the array itself if it has it."""
    if array.dtype == dtype:
        return array
    if is_bfloat16(array.dtype):
        array = to_float32(array)
    result: Array = to_bfloat16(array, dtype) if is_bfloat16(dtype) else array.astype(dtype)
    return result


def _check_buffer(
    name: str, buffer: Array, shape: tuple[int, ...], dtypes: set[np.dtype[Any]]
) -> None:
    if buffer.shape != shape:
        raise ValueError(
            f"attention: out[{name!r}] has shape {buffer.shape}; {name} has {shape}.\n  A gradient "
            "has the shape of its input."
        )
    if not buffer.flags.writeable:
        raise ValueError(
            f"attention: out[{name!r}] is read-only.\n  Give an array that can be written."
        )
    if buffer.dtype not in dtypes:
        raise TypeError(
            f"attention: out[{name!r}] has dtype {buffer.dtype}; the gradient is "
            f"{' or '.join(map(str, dtypes))}.\n  Give an array of that dtype."
        )
