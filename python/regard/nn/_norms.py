"""`LayerNorm` and `RMSNorm`: each row brought to one length, then a gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import as_derivative, as_input, needed, optional
from regard.nn._gradients import Back, LayerGradients
from regard.nn._layer import Layer, check_names

Array: TypeAlias = NDArray[Any]


@dataclass(eq=False, repr=False)
class LayerNorm(Layer):
    """Rows without their mean, divided by their deviation.

    ``y = u * weight + bias`` with ``u = (x - mean(x)) / sqrt(var(x) + eps)``, each over the last
    axis [1]_.

    Parameters
    ----------
    weight : ndarray, shape (features,)
    bias : ndarray, shape (features,), optional
    eps : float, default 1e-5

    References
    ----------
    .. [1] Ba, J. L. et al., "Layer Normalization", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> nn.LayerNorm(np.ones(2), np.zeros(2))(np.array([[1.0, 5.0]])).round(3)
    array([[-1.,  1.]])
    """

    weight: Array
    bias: Array | None = None
    eps: float = 1e-5

    @classmethod
    def from_state_dict(cls, arrays: Mapping[str, ArrayLike], *, eps: float = 1e-5) -> LayerNorm:
        """Make the layer of ``torch.nn.LayerNorm``'s state dict: weight, and bias if it is there.

        Parameters
        ----------
        arrays : mapping of str to array_like
        eps : float, default 1e-5
        """
        layer = cls(needed(arrays, "weight", "LayerNorm"), optional(arrays, "bias"), eps)
        check_names("LayerNorm", layer.state_dict(), arrays)
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        """Normalise x (..., features)."""
        unit, _ = self._unit(x)
        unit *= self.weight
        if self.bias is not None:
            unit += self.bias
        return unit

    def vjp(self, x: ArrayLike) -> tuple[Array, Back]:
        """Normalise, and return the way back.

        ``dx = (du - mean(du) - u mean(du u)) / deviation`` with ``du = dy * weight``.
        """
        unit, inverse = self._unit(x)
        out = unit * self.weight
        if self.bias is not None:
            out += self.bias

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, out.shape, "LayerNorm", out.dtype)
            du = dy * self.weight
            along = _mean_of_products(du, unit)
            dx = (du - du.mean(axis=-1, keepdims=True) - unit * along) * inverse
            parameters = {"weight": _sum_of_rows(dy * unit)}
            if self.bias is not None:
                parameters["bias"] = _sum_of_rows(dy)
            return LayerGradients(dx, parameters)

        return out, back

    def _unit(self, x: ArrayLike) -> tuple[Array, Array]:
        rows = as_input(x, "x", "LayerNorm", len(self.weight), self.weight.dtype)
        centred = rows - rows.mean(axis=-1, keepdims=True)
        variance = _mean_of_products(centred, centred)
        inverse = 1 / np.sqrt(variance + rows.dtype.type(self.eps))
        centred *= inverse
        return centred, inverse


@dataclass(eq=False, repr=False)
class RMSNorm(Layer):
    """Rows divided by the root of their mean square.

    ``y = u * weight`` with ``u = x / sqrt(mean(x²) + eps)``, over the last axis [1]_.

    Parameters
    ----------
    weight : ndarray, shape (features,)
    eps : float, optional
        By default the machine epsilon of the dtype, as in ``torch.nn.RMSNorm``.

    References
    ----------
    .. [1] Zhang, B. and Sennrich, R., "Root Mean Square Layer Normalization", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> nn.RMSNorm(np.ones(2))(np.array([[3.0, 4.0]])).round(3)
    array([[0.849, 1.131]])
    """

    weight: Array
    eps: float | None = None

    @classmethod
    def from_state_dict(
        cls, arrays: Mapping[str, ArrayLike], *, eps: float | None = None
    ) -> RMSNorm:
        """Make the layer of ``torch.nn.RMSNorm``'s state dict: weight.

        Parameters
        ----------
        arrays : mapping of str to array_like
        eps : float, optional
        """
        layer = cls(needed(arrays, "weight", "RMSNorm"), eps)
        check_names("RMSNorm", layer.state_dict(), arrays)
        return layer

    def __call__(self, x: ArrayLike) -> Array:
        """Normalise x (..., features)."""
        unit, _ = self._unit(x)
        unit *= self.weight
        return unit

    def vjp(self, x: ArrayLike) -> tuple[Array, Back]:
        """Normalise, and return the way back.

        ``dx = (du - u mean(du u)) / root`` with ``du = dy * weight``.
        """
        unit, inverse = self._unit(x)
        out = unit * self.weight

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, out.shape, "RMSNorm", out.dtype)
            du = dy * self.weight
            dx = (du - unit * _mean_of_products(du, unit)) * inverse
            return LayerGradients(dx, {"weight": _sum_of_rows(dy * unit)})

        return out, back

    def _unit(self, x: ArrayLike) -> tuple[Array, Array]:
        rows = as_input(x, "x", "RMSNorm", len(self.weight), self.weight.dtype)
        eps = np.finfo(rows.dtype).eps if self.eps is None else self.eps
        inverse = 1 / np.sqrt(_mean_of_products(rows, rows) + rows.dtype.type(eps))
        return rows * inverse, inverse


def _mean_of_products(a: Array, b: Array) -> Array:
    """Mean of a * b over the last axis, which stays with length 1; no array of the products."""
    products: Array = np.einsum("...i,...i->...", a, b)
    mean: Array = products[..., np.newaxis] / a.dtype.type(a.shape[-1])
    return mean


def _sum_of_rows(x: Array) -> Array:
    total: Array = x.reshape(-1, x.shape[-1]).sum(axis=0)
    return total
