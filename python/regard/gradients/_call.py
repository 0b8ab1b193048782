"""A call whose derivatives are wanted: its arrays and options as the core takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import coerce
from regard._bfloat16 import rounded
from regard._call.core_options import check_names, core_options, refuse
from regard._call.layout import arrays_by_head, take_layout
from regard._call.options import RESULT, names
from regard._call.packed import packed_call
from regard._layout import Layout

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]

WITHOUT_DERIVATIVES = names(lambda option: option.gradient == "refused")


class DifferentiableCall:
    """The arguments of a call, as arrays that stay as they are."""

    def __init__(
        self,
        function: str,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        options: dict[str, Any],
        starts: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    ) -> None:
        refuse(
            options,
            RESULT,
            "is no option of a call with gradients.\n  Leave it out; the LSE is vjp.lse, and "
            "buffers for gradients are given to vjp.",
        )
        for name in WITHOUT_DERIVATIVES:
            if options.get(name) is not None:
                raise ValueError(
                    f"attention: there are no derivatives with {name}.\n  Give key and value as "
                    "arrays of floats."
                )
        check_names(function, options)
        if options.get("score_mod") is not None and options.get("score_mod_gradient") is None:
            raise ValueError(
                "attention: score_mod has no gradient.\n  Give score_mod_gradient, which takes "
                "(dscores, scores, ...) to derivatives by the scores."
            )
        self.packed = starts is not None
        self.given = {name: x for name, x in options.items() if x is not None}
        options = dict(options)
        if starts is None:
            self.layout = take_layout(options)
            if self.layout is None:
                arrays = zip((query, key, value), ("query", "key", "value"), strict=True)
                self.query, self.key, self.value = (coerce(x, name, "input") for x, name in arrays)
            else:
                self.query, self.key, self.value = arrays_by_head(
                    self.layout, query, key, value, options
                )
            self.options = core_options(self.query, self.key, options)
        else:
            self.layout = Layout("SHD")
            self.query, self.key, self.value, self.options = packed_call(
                query, key, value, *starts, options
            )
        self.computed = np.dtype(np.float64 if self.query.dtype == np.float64 else np.float32)
        if "bias" in self.options:
            self.options["bias"] = coerce(self.options["bias"], "bias", "bias")

    def forward(self) -> tuple[Array, Array]:
        """Output, as the caller wants it, and LSE."""
        arrays = self.query, self.key, self.value
        into = None if self.layout is None else self.layout.empty_output(*arrays)
        out, lse = _core.attention(*arrays, self.options or None, True, into)
        return self.as_given(out), lse

    def by_head(self, array: Array, argument: str = "") -> Array:
        """View an array of the caller's as the core has it: (..., heads, tokens, dim)."""
        return array if self.layout is None else self.layout.by_head(array, argument)

    def as_given(self, array: Array) -> Array:
        """View an array of the core's as the caller has it."""
        return array if self.layout is None else self.layout.as_given(array)

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
        return self.by_head(given) if argument == "dout" else given

    def with_batch(self, array: Array) -> Array:
        """Broadcast an array of an input's shape to all batch axes."""
        rank3 = array.reshape((1,) * (3 - array.ndim) + array.shape)
        return np.broadcast_to(rank3, (*self.batch(), *rank3.shape[-3:]))

    def batch(self) -> tuple[int, ...]:
        """Batch axes of the output."""
        arrays = self.query, self.key, self.value
        return np.broadcast_shapes(*(x.shape[:-3] for x in arrays))
