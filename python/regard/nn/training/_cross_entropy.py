r"""Cross-entropy of logits and classes, and its gradient.

With logits z of C classes, target c, smoothing s and LSE = log sum exp z, a row's loss is

    (1 - s) (LSE - z_c) + s / C  sum_k (LSE - z_k)

and its derivative by z is softmax(z) - (1 - s) onehot(c) - s / C. Rows whose target is ignored have
a loss and a derivative of exactly 0, whatever their logits are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from regard.nn.training._trees import Array

Reduction: TypeAlias = Literal["mean", "sum"]


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> float:
    """Cross-entropy between logits and classes in nats, as `torch.nn.functional.cross_entropy`.

    Parameters
    ----------
    logits : array_like of float, shape (..., classes)
        The classes are last, where PyTorch has them second.
    targets : array_like of int, shape (...)
        The class of each row, or ignore_index.
    label_smoothing : float, default 0.0
        What part of each target is spread over all classes evenly [1]_, 0 to 1.
    ignore_index : int, default -100
        Rows with this target do not count, such as padding.
    reduction : {"mean", "sum"}, default "mean"
        Over the rows that count. Sums are what pieces of a batch need whose numbers of targets
        differ.

    Returns
    -------
    float
        Summed in float64.

    Raises
    ------
    TypeError
        Logits are no floating-point numbers, or targets no integers.
    ValueError
        Shapes do not match, a target is no class, a number is out of its range, or the mean is one
        of no rows.

    See Also
    --------
    cross_entropy_vjp : With the gradient.

    References
    ----------
    .. [1] Szegedy, C. et al., "Rethinking the Inception Architecture for Computer Vision", 2016.

    Examples
    --------
    >>> from regard.nn.training import cross_entropy
    >>> round(cross_entropy([[0.0, 0.0], [9.0, 0.0]], [1, -100]), 4)  # log 2
    0.6931
    """
    loss, _ = _forward("cross_entropy", logits, targets, label_smoothing, ignore_index, reduction)
    return loss


def cross_entropy_vjp(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> tuple[float, Callable[..., Array]]:
    """Cross-entropy, and a function that gives its gradient.

    Parameters
    ----------
    logits : array_like of float, shape (..., classes)
    targets : array_like of int, shape (...)
    label_smoothing, ignore_index, reduction
        As in `cross_entropy`.

    Returns
    -------
    loss : float
    back : callable
        ``back(dloss=1.0)`` returns the derivative by the logits, of their shape and dtype. Rows
        that are ignored have exactly 0, NaN in their logits or not.

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy` does.

    Examples
    --------
    >>> import numpy as np
    >>> from regard.nn.training import cross_entropy_vjp
    >>> loss, back = cross_entropy_vjp(np.zeros((2, 4)), [1, -100])
    >>> back()
    array([[ 0.25, -0.75,  0.25,  0.25],
           [ 0.  ,  0.  ,  0.  ,  0.  ]])
    """
    return _forward("cross_entropy_vjp", logits, targets, label_smoothing, ignore_index, reduction)


def _forward(
    call: str,
    logits: ArrayLike,
    targets: ArrayLike,
    smoothing: float,
    ignored: int,
    reduction: Reduction,
) -> tuple[float, Callable[..., Array]]:
    z, classes = np.asarray(logits), np.asarray(targets)
    counted = _check(call, z, classes, smoothing, ignored, reduction)
    rows, chosen = z.reshape(-1, z.shape[-1]), classes.reshape(-1)
    rows = rows.astype(np.result_type(z, np.float32), copy=False)  # float16 sums nothing well
    kept = None if counted.all() else np.flatnonzero(counted.reshape(-1))
    if kept is not None:
        rows, chosen = rows[kept], chosen[kept]
    places = np.arange(len(rows)), chosen
    shifted = rows - rows.max(axis=-1, keepdims=True, initial=-np.inf)
    powers = np.exp(shifted)
    sums = powers.sum(axis=-1, keepdims=True)
    logs = np.log(sums[:, 0])
    loss = (1 - smoothing) * float(np.sum(logs - shifted[places], dtype=np.float64))
    if smoothing:
        by_row = logs - np.mean(shifted, axis=-1)
        loss += smoothing * float(np.sum(by_row, dtype=np.float64))
    share = 1 / len(rows) if reduction == "mean" else 1.0

    def back(dloss: float = 1.0) -> Array:
        dlogits: Array = powers / sums
        dlogits[places] -= 1 - smoothing
        if smoothing:
            dlogits -= smoothing / rows.shape[-1]
        dlogits *= dloss * share
        if kept is None:
            return dlogits.reshape(z.shape).astype(z.dtype, copy=False)
        spread = np.zeros((classes.size, z.shape[-1]), z.dtype)
        spread[kept] = dlogits
        return spread.reshape(z.shape)

    return loss * share, back


def _check(
    call: str, logits: Array, targets: Array, smoothing: float, ignored: int, reduction: str
) -> Array:
    """Return which targets count."""
    if logits.dtype.kind != "f" or targets.dtype.kind not in "iu":
        raise TypeError(
            f"{call}: logits are {logits.dtype} and targets {targets.dtype}.\n"
            "  Give floating-point logits, and the numbers of the classes as integers."
        )
    if not logits.ndim or logits.shape[:-1] != targets.shape or logits.shape[-1] == 0:
        raise ValueError(
            f"{call}: targets do not fit the logits.\n  logits   {logits.shape}\n"
            f"  targets  {targets.shape}\n  Each row of logits, one number a class, needs a target."
        )
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{call}: label_smoothing has to be 0 to 1, not {smoothing}")
    if reduction not in ("mean", "sum"):
        raise ValueError(f'{call}: reduction has to be "mean" or "sum", not {reduction!r}')
    counted: Array = targets != ignored
    wrong = targets[counted & ((targets < 0) | (targets >= logits.shape[-1]))]
    if wrong.size:
        raise ValueError(
            f"{call}: a target is {wrong[0]}, but there are {logits.shape[-1]} classes.\n"
            f"  Targets are 0 to {logits.shape[-1] - 1}, or ignore_index={ignored}."
        )
    if reduction == "mean" and not counted.any():
        raise ValueError(
            f"{call}: no target counts, and there is no mean of none.\n"
            f'  All {targets.size} are ignore_index={ignored}; reduction="sum" gives 0.'
        )
    return counted
