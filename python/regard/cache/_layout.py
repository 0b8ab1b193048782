"""What a contiguous cache is made for: its sizes, and where a file of it has what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regard.cache._check import dtype_name, whole
from regard.cache._check import rows as rows_of
from regard.cache._storage import Storage

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Data begins at a page of memory, so that what is mapped is not split over one more than needed.
_PAGE = 4096
FIELDS_BYTES = 128
# Flags, dim, factor and checksum of a rotation, in front of its frequencies.
ROTATION_BYTES = 32


@dataclass(frozen=True)
class Layout:
    """Sizes of a cache, checked."""

    dtype: str
    batch: int
    kv_heads: int
    head_dim: int
    value_dim: int
    capacity: int
    window: int | None
    sink_tokens: int
    latent: bool = False  # values are the first columns of the keys

    @staticmethod
    def checked(
        call: str,
        batch: Any,
        kv_heads: Any,
        head_dim: Any,
        capacity: Any,
        dtype: Any,
        value_dim: Any,
        window: Any,
        sink_tokens: Any,
        latent: bool = False,
    ) -> Layout:
        """Make one of what a user gave."""
        head_dim = whole(head_dim, "head_dim", call, 1)
        layout = Layout(
            dtype_name(dtype, call),
            whole(batch, "batch", call, 1),
            whole(kv_heads, "kv_heads", call, 1),
            head_dim,
            head_dim if value_dim is None else whole(value_dim, "value_dim", call, 1),
            whole(capacity, "capacity", call, 1),
            None if window is None else whole(window, "window", call, 0),
            whole(sink_tokens, "sink_tokens", call, 0),
            latent,
        )
        if layout.window is None and layout.sink_tokens:
            raise ValueError(
                f"{call}: sink_tokens is {layout.sink_tokens}, without a window.\n  Without a "
                "window no token is dropped; give both or neither."
            )
        if layout.window is not None:
            least = layout.sink_tokens + layout.window + 1
            if layout.capacity < least:
                raise ValueError(
                    f"{call}: capacity is {layout.capacity}, with sink_tokens={layout.sink_tokens} "
                    f"and window={layout.window}.\n  A token sees the sinks, the window before it "
                    f"and itself: give at least {least}, and one more for each further token that "
                    "is to be appended at a time."
                )
        return layout

    @property
    def lead(self) -> tuple[int, int, int]:
        """Shape of the arrays without their last axis."""
        return self.batch, self.kv_heads, self.capacity

    @property
    def lengths_at(self) -> int:
        """Where the lengths begin, 8 bytes each, and behind them as many highest lengths."""
        return FIELDS_BYTES + ROTATION_BYTES + 8 * -(-self.head_dim // 2)

    @property
    def data_at(self) -> int:
        """Where keys and values begin."""
        return -(-(self.lengths_at + 16 * self.batch) // _PAGE) * _PAGE

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return self.data_at + Storage.size(
            self.dtype, self.lead, self.head_dim, self.value_dim, self.latent
        )

    @property
    def first_turned(self) -> int:
        """Columns of a key in front of those that a rope turns."""
        return self.value_dim if self.latent else 0

    def new_rows(self, array: ArrayLike, name: str) -> NDArray[Any]:
        """Check tokens to append: (batch, kv_heads, n, dim)."""
        rows = rows_of(array, name)
        dim = self.head_dim if name == "key" else self.value_dim
        if rows.ndim == 3 and self.batch == 1:
            rows = rows[np.newaxis]
        shape = rows.shape
        if len(shape) != 4 or (shape[0], shape[1], shape[3]) != (
            self.batch,
            self.kv_heads,
            dim,
        ):
            raise ValueError(
                f"append: {name} has shape {np.shape(array)}.\n  The cache takes (batch="
                f"{self.batch}, kv_heads={self.kv_heads}, tokens, "
                f"{'head_dim' if name == 'key' else 'value_dim'}={dim})."
            )
        return rows
