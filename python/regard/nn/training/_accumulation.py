"""Gradients of a batch in pieces: one after the other, or several at once, with the same bits.

The order of the sum is that of the pieces, whoever computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

import numpy as np

from regard.nn.training._trees import Array, Tree, check_same_shapes

LossAndGradients: TypeAlias = Callable[[Any, Any], "tuple[float, Tree]"]


def accumulate_gradients(
    loss_and_gradients: LossAndGradients,
    parameters: Tree,
    pieces: Sequence[Any],
    *,
    weights: Sequence[float] | None = None,
    executor: Executor | None = None,
) -> tuple[float, dict[str, Array]]:
    """Loss and gradients of a batch that is given in pieces.

    Without an executor this is gradient accumulation: one piece is in memory at a time. With one it
    is data parallelism: pieces are computed at once, and their gradients summed as they would be in
    turn. So the result is bitwise the same for any number of workers, as long as the pieces are the
    same and the matrix products of NumPy use as many threads in each.

    Parameters
    ----------
    loss_and_gradients : callable
        ``loss_and_gradients(parameters, piece)`` returns the mean loss over a piece, and the
        gradients, a dict with the names of the parameters. A pool of processes needs a function of
        a module, or a `functools.partial` of one.
    parameters : mapping of str to ndarray
    pieces : sequence
        What the function takes as its second argument, at least one.
    weights : sequence of float, optional
        How much each piece counts in the mean, such as its number of targets. Equal if not given.
    executor : concurrent.futures.Executor, optional
        `process_pool`, a `concurrent.futures.ThreadPoolExecutor`, or ``client.get_executor()`` of a
        Dask client.

    Returns
    -------
    loss : float
        The mean of the losses by weight.
    gradients : dict of str to ndarray
        Likewise; in the dtypes of the pieces' gradients.

    Raises
    ------
    ValueError
        There is no piece, weights do not fit, or gradients are not those of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import accumulate_gradients
    >>> def squared(parameters, x):
    ...     return float(np.mean((parameters["shift"] + x) ** 2)), {
    ...         "shift": np.mean(2 * (parameters["shift"] + x), keepdims=True)
    ...     }
    >>> parameters, batch = {"shift": np.array([1.0])}, np.arange(6.0)
    >>> loss, gradients = accumulate_gradients(
    ...     squared, parameters, [batch[:4], batch[4:]], weights=[4, 2]
    ... )
    >>> whole, expected = squared(parameters, batch)
    >>> bool(np.isclose(loss, whole)), bool(np.allclose(gradients["shift"], expected["shift"]))
    (True, True)
    """
    shares = _shares(len(pieces), weights)
    at_once = map if executor is None else executor.map
    results = at_once(loss_and_gradients, [parameters] * len(pieces), pieces)
    total = 0.0
    summed: dict[str, Array] = {}
    for share, (loss, gradients) in zip(shares, results, strict=True):
        check_same_shapes("accumulate_gradients", parameters, gradients, "gradients")
        total += share * loss
        for name, gradient in gradients.items():
            scaled = np.multiply(gradient, share, out=np.empty_like(gradient))
            if name in summed:
                summed[name] += scaled
            else:
                summed[name] = scaled
    return total, summed


def _shares(pieces: int, weights: Sequence[float] | None) -> list[float]:
    """Tell what each piece is multiplied by."""
    if not pieces:
        raise ValueError("accumulate_gradients: pieces is empty; give at least one")
    if weights is None:
        return [1 / pieces] * pieces
    if len(weights) != pieces or not all(weight >= 0 for weight in weights) or not sum(weights):
        raise ValueError(
            f"accumulate_gradients: weights has {len(weights)} numbers for {pieces} pieces, of sum "
            f"{np.sum(weights)}.\n  Give one for each piece, at least 0, and not all 0."
        )
    return [float(weight / sum(weights)) for weight in weights]
