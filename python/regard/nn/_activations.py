"""Activations: functions of single numbers, with their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.nn._arrays import as_derivative
from regard.nn._gradients import Back, LayerGradients
from regard.nn._layer import Layer
from regard.nn._normal import tail

Array: TypeAlias = NDArray[Any]

# Numbers at a time: a few arrays of them stay in a core's second-level cache.
_PIECE = 1 << 14


@dataclass(eq=False, repr=False)
class Activation(Layer):
    """A function of single numbers.

    Parameters
    ----------
    name : str
    function, derivative : callable
        Take an array and return one of its shape and dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import nn
    >>> nn.gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    >>> out, back = nn.relu.vjp(np.array([-1.0, 2.0]))
    >>> back(np.ones(2)).x
    array([0., 1.])
    """

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]

    def __call__(self, x: ArrayLike) -> Array:
        """Apply it to x, floats of any shape."""
        return self.in_place(np.array(x, order="C"))

    def in_place(self, x: Array) -> Array:
        """Apply it to a C-contiguous array of floats, whose numbers it replaces."""
        flat = x.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            piece[...] = self.function(piece)
        return x

    def vjp(self, x: ArrayLike) -> tuple[Array, Back]:
        """Apply it, and return the way back: dx = dy f'(x)."""
        array = np.ascontiguousarray(x)

        def back(dout: ArrayLike) -> LayerGradients:
            dy = as_derivative(dout, array.shape, self.name, array.dtype)
            dx = np.empty_like(array)
            whole = array.reshape(-1), dy.reshape(-1), dx.reshape(-1)
            for start in range(0, array.size, _PIECE):
                at, d, into = (part[start : start + _PIECE] for part in whole)
                np.multiply(d, self.derivative(at), out=into)
            return LayerGradients(dx, {})

        return self(array), back

    def __repr__(self) -> str:
        return f"regard.nn.{self.name}"


def _sigmoid(x: Array) -> Array:
    out = np.tanh(x * x.dtype.type(0.5))  # which cannot overflow
    out += 1
    out *= x.dtype.type(0.5)
    result: Array = out
    return result


def _gelu(x: Array) -> Array:
    q, _ = tail(x)
    q *= np.abs(x)
    result: Array = np.maximum(x, 0) - q
    return result


def _dgelu(x: Array) -> Array:
    q, density = tail(x)
    result: Array = np.where(x < 0, q, 1 - q) + x * density * x.dtype.type((2 * np.pi) ** -0.5)
    return result


_CUBIC = 0.044715


def _gelu_tanh(x: Array) -> Array:
    inner = x.dtype.type((2 / np.pi) ** 0.5) * (x + x.dtype.type(_CUBIC) * x * x * x)
    result: Array = x.dtype.type(0.5) * x * (1 + np.tanh(inner))
    return result


def _dgelu_tanh(x: Array) -> Array:
    real = x.dtype.type
    root = real((2 / np.pi) ** 0.5)
    t = np.tanh(root * (x + real(_CUBIC) * x * x * x))
    dinner = root * (1 + real(3 * _CUBIC) * x * x)
    result: Array = real(0.5) * (1 + t) + real(0.5) * x * (1 - t * t) * dinner
    return result


def _dsilu(x: Array) -> Array:
    s = _sigmoid(x)
    result: Array = s * (1 + x * (1 - s))
    return result


def _dsigmoid(x: Array) -> Array:
    s = _sigmoid(x)
    result: Array = s * (1 - s)
    return result


def _quick(x: Array) -> Array:
    result: Array = x * x.dtype.type(1.702)
    return result


def _positive(x: Array) -> Array:
    result: Array = (x > 0).astype(x.dtype)
    return result


#: max(x, 0)
relu = Activation("relu", lambda x: np.maximum(x, 0), _positive)
#: max(x, 0)² (So et al., "Primer", 2021)
relu_squared = Activation(
    "relu_squared", lambda x: np.square(np.maximum(x, 0)), lambda x: 2 * np.maximum(x, 0)
)
#: x Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016)
gelu = Activation("gelu", _gelu, _dgelu)
#: Its approximation by tanh, ``approximate="tanh"`` in PyTorch
gelu_tanh = Activation("gelu_tanh", _gelu_tanh, _dgelu_tanh)
#: x sigmoid(1.702 x), as in CLIP
quick_gelu = Activation(
    "quick_gelu",
    lambda x: x * _sigmoid(_quick(x)),
    lambda x: _sigmoid(_quick(x)) * (1 + _quick(x) * (1 - _sigmoid(_quick(x)))),
)
#: x sigmoid(x), also called swish
silu = Activation("silu", lambda x: x * _sigmoid(x), _dsilu)
sigmoid = Activation("sigmoid", _sigmoid, _dsigmoid)
tanh = Activation("tanh", np.tanh, lambda x: 1 - np.square(np.tanh(x)))
#: x, for gates that are products alone
identity = Activation("identity", lambda x: x, np.ones_like)

ACTIVATIONS = {
    a.name: a
    for a in (relu, relu_squared, gelu, gelu_tanh, quick_gelu, silu, sigmoid, tanh, identity)
}


def activation_of(given: str | Activation) -> Activation:
    """Take an activation, or the name of one.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if isinstance(given, Activation):
        return given
    if given not in ACTIVATIONS:
        raise ValueError(
            f"activation is {given!r}.\n  There are {', '.join(ACTIVATIONS)}; or give an "
            "Activation."
        )
    return ACTIVATIONS[given]
