"""The arrays of a call in the order of axes that its layout says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from regard._arrays import coerce
from regard._layout import Layout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array: TypeAlias = NDArray[Any]

# What the options with a factor for each row are of.
_OF_ROWS = {"key_scales": "key", "value_scales": "value"}


def take_layout(options: dict[str, Any]) -> Layout | None:
    """Take the layout out of the options of a call, if there is one."""
    letters = options.pop("layout", None)
    return None if letters is None else Layout(letters)


def arrays_by_head(
    layout: Layout, query: ArrayLike, key: ArrayLike, value: ArrayLike, options: dict[str, Any]
) -> tuple[Array, Array, Array]:
    """View the arrays of a call by head, and the factors of their rows among its options.

    Raises
    ------
    ValueError
        An array has another number of axes, or there are pages, whose order is their own.
    """
    if options.get("block_table") is not None:
        raise ValueError(
            "attention: layout is given with a block_table.\n  Pages are always (pages, page_size, "
            "heads, dim); give query as (batch, heads, tokens, dim)."
        )
    stored = set()
    for name, of in _OF_ROWS.items():
        if options.get(name) is not None:
            stored.add(of)
            scales = coerce(options[name], name, "scales")
            options[name] = layout.by_head(scales, name, rows=True)
    q, k, v = (
        layout.by_head(coerce(x, name, "stored" if name in stored else "input"), name)
        for name, x in (("query", query), ("key", key), ("value", value))
    )
    return q, k, v
