"""Biases that depend on the distance of key and query."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.bias._table import Kind, PositionBias, as_table, whole_number


class Relative(PositionBias):
    """A number for each distance between key and query, as relative position embeddings learn it.

    Adds ``table[clip(j - p, -w, w) + w, h]`` to the scores.

    Parameters
    ----------
    table : array_like, shape (2 w + 1, H) or (2 w + 1,)
        float32 or float64. One column for each head; without that axis, the same for all. Keys
        further away than w take the number at that end.

    Attributes
    ----------
    table : ndarray, shape (2 w + 1, H)

    Raises
    ------
    ValueError
        The first axis has an even length, or there are not one or two axes.
    TypeError
        table is not of real numbers.

    References
    ----------
    .. [1] Shaw, P. et al., "Self-Attention with Relative Position Representations", 2018.

    Examples
    --------
    >>> import regard
    >>> regard.bias.Relative([0.1, 0.2, 0.3]).to_dense(2, 3)
    array([[[0.2, 0.3, 0.3],
            [0.1, 0.2, 0.3]]])
    """

    def __init__(self, table: ArrayLike) -> None:
        self.table = as_table(table, "Relative")
        if len(self.table) % 2 == 0:
            raise ValueError(
                f"Relative: table has {len(self.table)} rows.\n  Give 2 * w + 1, for the distances "
                "from -w to w."
            )

    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        reach = len(self.table) // 2
        return np.clip(_distances(queries, keys, offset), -reach, reach) + reach

    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        return "relative", self.table, 0, 0

    def __repr__(self) -> str:
        return f"Relative(reach={len(self.table) // 2}, heads={self.table.shape[1]})"


class T5(PositionBias):
    """The relative bias of T5: near keys have their own number, far ones share one in a bucket.

    Buckets are those of Hugging Face's ``T5Attention._relative_position_bucket(j - p)``, computed
    in float32 as there.

    Parameters
    ----------
    table : array_like, shape (num_buckets, H) or (num_buckets,)
        float32 or float64, e.g. the weight of ``relative_attention_bias``.
    bidirectional : bool, default True
        Keys after the query have the upper half of the buckets, as in encoders; False puts them
        all in bucket 0, as in decoders, where they are masked.
    max_distance : int, default 128
        From here on all keys are in the last bucket.

    Attributes
    ----------
    table : ndarray, shape (num_buckets, H)
    bidirectional : bool
    max_distance : int

    Raises
    ------
    ValueError
        The buckets are too few, or not fewer than twice max_distance.
    TypeError
        table is not of real numbers, or max_distance not a whole number.

    References
    ----------
    .. [1] Raffel, C. et al., "Exploring the Limits of Transfer Learning with a Unified
       Text-to-Text Transformer", 2020, section 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> bias = regard.bias.T5(np.arange(8.0), max_distance=16)  # the bias is the bucket's number
    >>> bias.to_dense(1, 9, offset=4)
    array([[[2., 2., 2., 1., 0., 5., 6., 6., 6.]]])
    """

    def __init__(
        self, table: ArrayLike, *, bidirectional: bool = True, max_distance: int = 128
    ) -> None:
        self.table = as_table(table, "T5")
        self.bidirectional = bool(bidirectional)
        self.max_distance = whole_number(max_distance, "T5: max_distance")
        directions = 2 if bidirectional else 1
        if len(self.table) < 2 * directions or len(self.table) % directions:
            raise ValueError(
                f"T5: table has {len(self.table)} rows.\n  Give one for each bucket: at least "
                f"{2 * directions}{', and an even number' if bidirectional else ''}."
            )
        exact = len(self.table) // directions // 2
        if self.max_distance <= exact:
            raise ValueError(
                f"T5: max_distance is {self.max_distance}.\n  Give more than {exact}, the number "
                "of distances that have a bucket of their own."
            )

    def _rows(self, queries: int, keys: int, offset: int) -> NDArray[Any]:
        return self._bucket(_distances(queries, keys, offset))

    def _lowered(self) -> tuple[Kind, NDArray[Any], int, int]:
        return "relative", self.table[self._lowered_rows()], 0, 0

    def from_lowered(self, gradient: NDArray[Any]) -> NDArray[Any]:
        own = np.zeros(self.table.shape)
        np.add.at(own, self._lowered_rows(), gradient.T)
        return own

    def _lowered_rows(self) -> NDArray[Any]:
        """Bucket of each distance, only as far as the buckets change."""
        # Rounding may put the last edge behind max_distance.
        distances = np.arange(-2 * self.max_distance, 2 * self.max_distance + 1)
        buckets = self._bucket(distances)
        differs = (buckets != buckets[0]) & (distances < 0)
        differs |= (buckets != buckets[-1]) & (distances > 0)
        reach = int(np.abs(distances[differs]).max(initial=0)) + 1
        within: NDArray[Any] = buckets[np.abs(distances) <= reach]
        return within

    def __repr__(self) -> str:
        return (
            f"T5(buckets={self.table.shape[0]}, heads={self.table.shape[1]}, "
            f"bidirectional={self.bidirectional}, max_distance={self.max_distance})"
        )

    def _bucket(self, distance: NDArray[np.int64]) -> NDArray[Any]:
        buckets = len(self.table)
        first: Any = 0
        if self.bidirectional:
            buckets //= 2
            first = np.where(distance > 0, buckets, 0)
            distance = np.abs(distance)
        else:
            distance = np.maximum(-distance, 0)
        exact = buckets // 2
        # A bucket's edge is where this is a whole number: the result depends on every rounding.
        # PyTorch's float32 logarithm is nearly always the rounded one; NumPy's own is less exact.
        ratio = (np.maximum(distance, exact).astype(np.float32) / np.float32(exact)).astype(float)
        log = np.log(ratio).astype(np.float32)
        steps = log / np.float32(np.log(self.max_distance / exact)) * np.float32(buckets - exact)
        far = np.minimum(exact + steps.astype(np.int64), buckets - 1)
        bucket: NDArray[Any] = np.where(distance < exact, distance, far) + first
        return bucket


def _distances(queries: int, keys: int, offset: int) -> NDArray[np.int64]:
    offset = max(-(2**62), min(2**62, offset))  # beyond, distances are all the same
    return np.arange(keys) - np.arange(queries)[:, np.newaxis] - offset
