"""Trees of parameters and gradients: plain dicts of arrays, by the names of a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Tree: TypeAlias = Mapping[str, Array]

#: Steps of half precision would be lost in rounding.
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def check_parameters(call: str, parameters: Tree) -> None:
    """Refuse what cannot be trained, by its name.

    Raises
    ------
    TypeError
        A parameter is no array of float32 or float64.
    """
    for name, x in parameters.items():
        if not isinstance(x, np.ndarray) or x.dtype not in DTYPES:
            kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(
                f"{call}: parameters[{name!r}] is {kind}.\n  Train arrays of float32 or float64, "
                "and convert what comes of it."
            )


def check_same_shapes(call: str, parameters: Tree, other: Tree, argument: str) -> None:
    """Refuse a tree that has not the names and shapes of the parameters.

    Raises
    ------
    ValueError
        Naming the argument and the first array that does not fit.
    """
    for names, more, less in (
        (parameters.keys() - other.keys(), "parameters", argument),
        (other.keys() - parameters.keys(), argument, "parameters"),
    ):
        if names:
            raise ValueError(
                f"{call}: {more} has {min(names)!r}, which {less} has not.\n  Both need the same "
                "names; give the arrays that are to be trained, and no others."
            )
    for name, x in parameters.items():
        if np.shape(other[name]) != x.shape:
            raise ValueError(
                f"{call}: {argument}[{name!r}] has another shape than the parameter.\n"
                f"  parameters  {x.shape}\n  {argument:<10}  {np.shape(other[name])}"
            )
