"""``Gradients``: those that were asked for, and the arrays that may be written into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

from regard._call.options import names

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]

#: What there are gradients by: these, and options.
INPUTS = ("query", "key", "value")
NAMES = (*INPUTS, *names(lambda option: option.gradient in ("array", "numbers")))


class Gradients:
    """Derivatives of a loss by the inputs of attention.

    Each has the shape of its input. There are those that were asked for, in that order: iterating
    gives them one by one, ``gradients[name]`` and an attribute of that name each.

    Parameters
    ----------
    **arrays : ndarray
        By the names of the inputs.

    Attributes
    ----------
    query, key, value : ndarray
        In the dtype of the inputs.
    bias : ndarray
        Of the shape the bias was given in: summed over what it was broadcast along.
    position_bias : ndarray
        By the table of the position bias, of the shape of its ``table``.
    query_scale : ndarray
        Summed over what it was broadcast along, as that of a bias.
    alibi_slopes, sinks : ndarray

    Raises
    ------
    AttributeError
        One that was not asked for is looked at.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> query, key, value, dout = np.random.default_rng(0).standard_normal((4, 2, 50, 8))
    >>> out, vjp = regard.attention_vjp(query, key, value)
    >>> dvalue, dkey = vjp(dout, wrt=["value", "key"])
    >>> gradients = vjp(dout)
    >>> bool((gradients.key == dkey).all()), gradients.names
    (True, ('query', 'key', 'value'))
    """

    query: Array
    key: Array
    value: Array
    bias: Array
    position_bias: Array
    query_scale: Array
    alibi_slopes: Array
    sinks: Array

    def __init__(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if name not in NAMES:
                raise TypeError(
                    f"Gradients: there is none by {name}.\n  There are {', '.join(NAMES)}."
                )
            setattr(self, name, array)
        self.names = tuple(arrays)

    def __getattr__(self, name: str) -> Array:
        if name in NAMES:
            raise AttributeError(
                f"the gradient by {name} was not asked for: wrt has {', '.join(self.names)}"
            )
        raise AttributeError(f"Gradients has no attribute {name!r}")

    def __getitem__(self, name: str) -> Array:
        if name not in self.names:
            raise KeyError(name)
        array: Array = getattr(self, name)
        return array

    def __iter__(self) -> Iterator[Array]:
        return (self[name] for name in self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shapes = (f"{name}={self[name].shape}" for name in self.names)
        return f"Gradients({', '.join(shapes)})"


# What `out` may be: buffers for some of the gradients.
Buffers: TypeAlias = "Gradients | Mapping[str, NDArray[Any]] | None"
