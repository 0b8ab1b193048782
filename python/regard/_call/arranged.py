"""``attention`` of arrays in another order than heads, tokens, dim: views of them, and one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from regard import _core
from regard._call.core_options import core_options
from regard._call.layout import arrays_by_head, take_layout
from regard._call.messages import rename

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def attention_in_layout(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    options: dict[str, Any],
    return_lse: bool,
    out: NDArray[Any] | None,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Compute, and write an output that is contiguous in the caller's order."""
    letters = options["layout"]
    try:
        layout = take_layout(options)
        assert layout is not None
        q, k, v = arrays_by_head(layout, query, key, value, options)
        core = core_options(q, k, options)
        if out is None:
            by_head: Any = layout.empty_output(q, k, v)
        else:
            by_head = layout.by_head(out, "out") if isinstance(out, np.ndarray) else out
        result = _core.attention(q, k, v, core or None, return_lse, by_head)
    except (TypeError, ValueError) as error:
        rename(error, "attention", letters)
        raise
    if isinstance(result, tuple):
        return layout.as_given(result[0]) if out is None else out, result[1]
    return layout.as_given(result) if out is None else out
