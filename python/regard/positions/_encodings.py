"""Sinusoidal encodings, which are added to vectors, and rotary embeddings, which turn them."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard._bfloat16 import is_bfloat16
from regard._layout import Layout
from regard.positions._rotation import Rotation
from regard.positions._scaling import Scaling, unscaled


def sinusoidal(length: int, dim: int, base: float = 10000.0) -> NDArray[np.float64]:
    """Positional encodings of sines and cosines, to be added to embeddings.

    Feature 2 n of position p is ``sin(p / base ** (2 n / dim))``, feature 2 n + 1 the cosine.

    Parameters
    ----------
    length : int
        Positions from 0.
    dim : int
        Features of each.
    base : float, default 10000
        The longest wavelength is 2 pi times about this.

    Returns
    -------
    ndarray of float64, shape (length, dim)

    Raises
    ------
    ValueError
        length or dim is negative, or base not above 1.

    References
    ----------
    .. [1] Vaswani, A. et al., "Attention Is All You Need", 2017, section 3.5.

    Examples
    --------
    >>> import regard
    >>> regard.positions.sinusoidal(3, 4).round(3)
    array([[ 0.   ,  1.   ,  0.   ,  1.   ],
           [ 0.841,  0.54 ,  0.01 ,  1.   ],
           [ 0.909, -0.416,  0.02 ,  1.   ]])
    """
    if length < 0 or dim < 0:
        raise ValueError(f"sinusoidal: length is {length}, dim {dim}.\n  Neither may be negative.")
    _check_base(base, "sinusoidal")
    angles = np.arange(length)[:, np.newaxis] * unscaled(base, dim)
    encoding = np.empty((length, dim))
    encoding[:, 0::2] = np.sin(angles)
    encoding[:, 1::2] = np.cos(angles)[:, : dim // 2]
    return encoding


def rope(
    x: ArrayLike,
    positions: ArrayLike | None = None,
    *,
    base: float = 10000.0,
    interleaved: bool = False,
    dim: int | None = None,
    scaling: Scaling | None = None,
    layout: str | None = None,
) -> NDArray[Any]:
    """Rotary position embedding of queries or keys.

    Turns pair n of the features at position p by the angle ``p * base ** (-2 n / dim)``, so that
    products of queries and keys depend on the difference of their positions.

    Parameters
    ----------
    x : array_like, shape (..., S, D)
        Queries or keys, of any float dtype.
    positions : array_like of int or float, optional
        Broadcasts to (..., S), with heads before S whatever the layout; by default 0 to S - 1.
    base : float, default 10000
        Also called theta.
    interleaved : bool, default False
        False pairs feature n with n + dim / 2, as GPT-NeoX, Hugging Face and ONNX do; True the
        neighbours 2 n and 2 n + 1, as GPT-J and the original Llama do.
    dim : int, optional
        How many leading features are turned, the others being left as they are; even. By default
        all.
    scaling : Scaling, optional
        How the frequencies change for long contexts: `Linear`, `NTK`, `DynamicNTK`, `YaRN` or
        `Llama3`.
    layout : str, optional
        What the axes of x are, as in `regard.attention`: "BSHD" for (batch, tokens, heads, dim).
        D comes last.

    Returns
    -------
    ndarray, of the shape of x
        In its dtype. Angles are computed in float64.

    Raises
    ------
    ValueError
        A shape does not fit, dim is odd or more than D, or base not above 1.
    TypeError
        x is not of floats, or positions not of numbers.

    References
    ----------
    .. [1] Su, J. et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> regard.positions.rope(np.ones((3, 2))).round(3)  # one pair, turned by 0, 1 and 2 radians
    array([[ 1.   ,  1.   ],
           [-0.301,  1.382],
           [-1.325,  0.493]])

    A new query behind a cache of 100 keys, of a model made for 4096 positions and used for 16384:

    >>> query = np.ones((8, 1, 64), dtype=np.float32)
    >>> scaling = regard.positions.YaRN(4.0, original_length=4096)
    >>> regard.positions.rope(query, [100], scaling=scaling).dtype
    dtype('float32')
    """
    return Rope(base, interleaved, dim, scaling)(x, positions, layout)


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding with its parameters, e.g. for a `KVCache`.

    ``Rope(...)(x, positions, layout)`` is ``rope(x, positions, ..., layout=layout)``.

    Parameters
    ----------
    base : float, default 10000
    interleaved : bool, default False
    dim : int, optional
    scaling : Scaling, optional
        As in `rope`.

    Raises
    ------
    ValueError
        base is not above 1.
    TypeError
        dim is not a whole number.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rope = regard.positions.Rope(base=500000.0, scaling=regard.positions.Llama3())
    >>> rope(np.ones((8, 1, 64), dtype=np.float32), [100]).shape
    (8, 1, 64)
    """

    base: float = 10000.0
    interleaved: bool = False
    dim: int | None = None
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        _check_base(self.base, "rope")
        dim = self.dim
        if dim is not None and (
            isinstance(dim, bool) or not isinstance(dim, (numbers.Integral, np.integer))
        ):
            raise TypeError(f"rope: dim is {dim!r}.\n  Give a whole number.")

    def __call__(
        self, x: ArrayLike, positions: ArrayLike | None = None, layout: str | None = None
    ) -> NDArray[Any]:
        """Turn x (..., S, D), as `rope` does."""
        features = np.asarray(x)
        if features.dtype.kind != "f" and not is_bfloat16(features.dtype):
            raise TypeError(f"rope: x has dtype {features.dtype}.\n  Give floats.")
        if features.ndim < 2:
            raise ValueError(
                f"rope: x has shape {features.shape}.\n  Give (..., length, head_dim)."
            )
        rotation = self.rotation(features.shape[-1])
        if layout is None:
            return rotation.turn(features, _positions(positions, features.shape))
        order = Layout(layout, "rope")
        by_head = order.by_head(features, "x").shape
        if not layout.endswith("D"):
            raise ValueError(f"rope: layout is {layout!r}.\n  D, the features, must come last.")
        rows = _positions(positions, by_head)
        rows = rows.reshape((1,) * (len(by_head) - 1 - rows.ndim) + rows.shape)
        return rotation.turn(features, order.as_given(rows, rows=True))

    def rotation(self, features: int) -> Rotation:
        """Make what turns vectors of so many features, the same object for the same parameters."""
        return _rotation(self, features)


@lru_cache(maxsize=16)
def _rotation(rope: Rope, features: int) -> Rotation:
    dim = _rotated(rope.dim, features)
    if rope.scaling is None:
        return Rotation(unscaled(rope.base, dim), 1.0, rope.interleaved)
    return Rotation(*rope.scaling.frequencies(rope.base, dim), rope.interleaved)


def _rotated(dim: int | None, features: int) -> int:
    if dim is None:
        dim = features
    if dim % 2 or not 0 < dim <= features:
        raise ValueError(
            f"rope: dim is {dim}, and x has {features} features.\n  Give an even number of leading "
            "features to turn."
        )
    return int(dim)


def _positions(positions: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if positions is None:
        return np.arange(shape[-2], dtype=np.float64)
    array = np.asarray(positions)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"rope: positions has dtype {array.dtype}.\n  Give numbers.")
    try:
        fits = np.broadcast_shapes(array.shape, shape[:-1]) == shape[:-1]
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"rope: positions of shape {array.shape} do not broadcast to {shape[:-1]}.\n"
            f"  x has shape {shape}: give a position for each of its vectors."
        )
    return array.astype(np.float64)


def _check_base(base: float, caller: str) -> None:
    if not base > 1 or not np.isfinite(base):
        raise ValueError(f"{caller}: base is {base}.\n  Give more than 1.")
