"""``Gradients``: which there are, and the arrays that a caller may have them written into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Gradients:
    """Derivatives of a loss by the inputs of attention.

    Each has the shape of its input; None is what was not asked for.

    Attributes
    ----------
    query, key, value : ndarray, optional
        In the dtype of the inputs.
    bias : ndarray, optional
        Of the shape the bias was given in: summed over what it was broadcast along.
    sinks, alibi_slopes : ndarray, optional
    position_bias : ndarray, optional
        By the table of the position bias, of the shape of its ``table``.
    query_scale : ndarray, optional
        Summed over what it was broadcast along, as that of a bias.
    """

    query: Array | None = None
    key: Array | None = None
    value: Array | None = None
    bias: Array | None = None
    sinks: Array | None = None
    alibi_slopes: Array | None = None
    position_bias: Array | None = None
    query_scale: Array | None = None


#: What there are gradients by: these, and options.
INPUTS = ("query", "key", "value")
NAMES = tuple(field.name for field in fields(Gradients))

# What `out` may be: buffers for some of the gradients.
Buffers: TypeAlias = "Gradients | Mapping[str, NDArray[Any]] | None"
