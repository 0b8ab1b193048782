"""Arrays that stand for traced ones, so that a call is checked while the program is traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from regard._call.options import names

_NUMBERS = names(lambda option: option.gradient == "numbers")
# Read when a call is checked: what is known of them is checked at once.
_READ = ("key_lengths", "query_lengths", "query_offset", "key_mask", "seed")


def is_traced(x: Any) -> bool:
    """Whether an array has no values yet."""
    return isinstance(x, jax.core.Tracer)


def stand_in(
    x: jax.Array, name: str = "", inputs: Mapping[str, NDArray[Any]] | None = None
) -> NDArray[Any]:
    """Return an array of the same shape and dtype that takes no memory.

    Parameters
    ----------
    x : Array
    name : str, optional
        Of the option that it is; lengths stand for all rows of ``inputs``.
    inputs : mapping of str to ndarray, optional
        query and key.

    Returns
    -------
    ndarray
        ``x`` itself if it is an option whose values are checked, and they are known.
    """
    if name in _READ and not is_traced(x):
        return np.asarray(x)
    # Options that are a few numbers are widened on the way, from types that NumPy lacks as well.
    number: Any = np.zeros((), np.float64 if name in _NUMBERS else x.dtype)
    if inputs is not None and name in ("key_lengths", "query_lengths"):
        of = inputs["key" if name == "key_lengths" else "query"]
        number = np.asarray(of.shape[-2] if of.ndim > 1 else 1, x.dtype)
    return np.broadcast_to(number, x.shape)
