"""Gradients that are too large, cut: all together by their norm, or each number by itself."""

from __future__ import annotations

import math

import numpy as np

from regard.nn.training._trees import Array, Tree

# PyTorch's, so that a norm of 0 divides nothing.
_EPSILON = 1e-6


def global_norm(gradients: Tree) -> float:
    """Root of the sum of all squares, summed in float64.

    Parameters
    ----------
    gradients : mapping of str to ndarray

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import global_norm
    >>> global_norm({"weight": np.array([[3.0]]), "bias": np.array([4.0])})
    5.0
    """
    # Not by a dot product, whose last bits depend on the threads of the library.
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))


def clip_by_global_norm(gradients: Tree, maximum: float) -> tuple[dict[str, Array], float]:
    """Scale all gradients by one factor, if their common norm is above a maximum [1]_.

    As `torch.nn.utils.clip_grad_norm_`, but of arrays that stay as they are.

    Parameters
    ----------
    gradients : mapping of str to ndarray
    maximum : float
        More than 0.

    Returns
    -------
    gradients : dict of str to ndarray
        Those given, times ``min(1, maximum / (norm + 1e-6))``.
    norm : float
        That before.

    Raises
    ------
    ValueError
        The maximum is not above 0, or the norm is not finite; the message names the gradient.

    References
    ----------
    .. [1] Pascanu, R. et al., "On the difficulty of training recurrent neural networks", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm({"x": np.array([3.0, 4.0])}, 1.0)
    >>> norm, clipped["x"].round(3)
    (5.0, array([0.6, 0.8]))
    """
    _check_maximum("clip_by_global_norm", maximum)
    norm = global_norm(gradients)
    if not math.isfinite(norm):
        broken = next((n for n, g in gradients.items() if not np.isfinite(g).all()), None)
        where = "their squares overflow" if broken is None else f"gradients[{broken!r}] is not"
        raise ValueError(
            f"clip_by_global_norm: the norm of the gradients is {norm}, not finite: {where}.\n"
            "  Lower the learning rate, or look for a division by 0 in the loss."
        )
    factor = maximum / (norm + _EPSILON)
    if factor >= 1:
        return dict(gradients), norm
    return {
        name: np.multiply(g, factor, out=np.empty_like(g)) for name, g in gradients.items()
    }, norm


def clip_by_value(gradients: Tree, maximum: float) -> dict[str, Array]:
    """Cut every number to -maximum .. maximum, as `torch.nn.utils.clip_grad_value_`.

    Parameters
    ----------
    gradients : mapping of str to ndarray
    maximum : float
        More than 0.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        The maximum is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import clip_by_value
    >>> clip_by_value({"x": np.array([-3.0, 0.5])}, 1.0)
    {'x': array([-1. ,  0.5])}
    """
    _check_maximum("clip_by_value", maximum)
    return {
        name: np.clip(g, -maximum, maximum, out=np.empty_like(g)) for name, g in gradients.items()
    }


def _check_maximum(call: str, maximum: float) -> None:
    if not maximum > 0:
        raise ValueError(f"{call}: maximum has to be more than 0, not {maximum}")
