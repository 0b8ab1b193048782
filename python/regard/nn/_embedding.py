"""`Embedding`: rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import as_derivative, needed
from regard.nn._gradients import Back, LayerGradients
from regard.nn._layer import Layer, check_names

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class Embedding(Layer):
    """Vectors of tokens: ``weight[tokens]``.

    Parameters
    ----------
    weight : ndarray, shape (vocabulary, features)

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> embedding = nn.Embedding(np.arange(6.0).reshape(3, 2))
    >>> out, back = embedding.vjp([2, 0, 2])
    >>> out
    array([[4., 5.],
           [0., 1.],
           [4., 5.]])
    >>> back(np.ones((3, 2))).parameters["weight"]
    array([[1., 1.],
           [0., 0.],
           [2., 2.]])
    """

    weight: Array

    @classmethod
    def from_state_dict(cls, arrays: Mapping[str, ArrayLike]) -> Embedding:
        """Make the layer of ``torch.nn.Embedding``'s state dict: weight."""
        layer = cls(needed(arrays, "weight", "Embedding"))
        check_names("Embedding", layer.state_dict(), arrays)
        return layer

    def __call__(self, tokens: ArrayLike) -> Array:
        """Look up tokens (...) of integers: (..., features)."""
        out: Array = self.weight[self._tokens(tokens)]
        return out

    def vjp(self, tokens: ArrayLike) -> tuple[Array, Back]:
        """Look up the same, and return the way back: a token's derivatives are summed."""
        rows = self._tokens(tokens)
        out = self.weight[rows]

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, out.shape, "Embedding", out.dtype)
            dweight = np.zeros_like(self.weight)
            if rows.size:
                order = np.argsort(rows, axis=None, kind="stable")
                used, starts = np.unique(rows.ravel()[order], return_index=True)
                dweight[used] = np.add.reduceat(dy.reshape(rows.size, -1)[order], starts)
            return LayerGradients(None, {"weight": dweight})

        return out, back

    def _tokens(self, tokens: ArrayLike) -> NDArray[np.integer[Any]]:
        array = np.asarray(tokens)
        if array.dtype.kind not in "iu":
            raise TypeError(f"Embedding: tokens has dtype {array.dtype}.\n  Give integers.")
        if array.size and not (array.min() >= 0 and array.max() < len(self.weight)):
            raise ValueError(
                f"Embedding: tokens has numbers from {array.min()} to {array.max()}.\n  The table "
                f"has rows 0 to {len(self.weight) - 1}."
            )
        return array
