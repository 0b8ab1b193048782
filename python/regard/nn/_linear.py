"""`Linear`: y = x W^T + b."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import as_derivative, as_input, needed, optional
from regard.nn._gradients import Back, LayerGradients
from regard.nn._layer import Layer, check_names
from regard.nn._products import affine, affine_back

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class Linear(Layer):
    """A product with weights, and a bias: ``x @ weight.T + bias``.

    Parameters
    ----------
    weight : ndarray, shape (outputs, inputs)
        float32 or float64, which x has to be of too.
    bias : ndarray, shape (outputs,), optional
    batch_invariant : bool, default False
        Bitwise the same row whatever the number of other rows: see `regard.nn.batch_invariant`.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> linear = nn.Linear(np.array([[1.0, 2.0]]), np.array([0.5]))
    >>> linear(np.array([[3.0, 4.0]]))
    array([[11.5]])
    >>> out, back = linear.vjp(np.array([[3.0, 4.0]]))
    >>> grads = back(np.array([[1.0]]))
    >>> grads.x, grads.parameters["weight"]
    (array([[1., 2.]]), array([[3., 4.]]))
    """

    weight: Array
    bias: Array | None = None
    batch_invariant: bool = False

    @classmethod
    def from_state_dict(cls, arrays: Mapping[str, ArrayLike]) -> Linear:
        """Make the layer of ``torch.nn.Linear``'s state dict: weight, and bias if there is one."""
        layer = cls(needed(arrays, "weight", "Linear"), optional(arrays, "bias"))
        check_names("Linear", layer.state_dict(), arrays)
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        """Compute x W^T + b for x (..., inputs)."""
        return affine(self._input(x), self.weight, self.bias, self.batch_invariant)

    def vjp(self, x: ArrayLike) -> tuple[Array, Back]:
        """Compute the same, and return the way back: dx = dy W, dW = dy^T x, db = sum of dy."""
        rows = self._input(x)
        out = affine(rows, self.weight, self.bias, self.batch_invariant)

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, out.shape, "Linear", out.dtype)
            dx, dweight, dbias = affine_back(dy, rows, self.weight, self.batch_invariant)
            parameters = {"weight": dweight} | ({} if self.bias is None else {"bias": dbias})
            return LayerGradients(dx, parameters)

        return out, back

    def _input(self, x: ArrayLike) -> Array:
        return as_input(x, "x", "Linear", self.weight.shape[1], self.weight.dtype)
