"""Products of rows with a matrix of weights: rows W^T, and their derivatives.

NumPy's own, which is what BLAS makes of them. Which kernel BLAS takes depends on the number of
rows, and kernels differ in the order of their sums: the same row can come out with other bits in
another batch. `batch_invariant` products have the same bits at any number of rows, because each
product is of 16 of them. In OpenBLAS 0.3.31, for all of the kernels we tried (Nehalem,
Sandybridge, Haswell, Zen, SkylakeX), 16 rows in the lanes of the vectors have no edges; of 32, the
Haswell kernels already sum some rows in another order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_BLOCK = 16


def product(rows: Array, weight: Array, batch_invariant: bool) -> Array:
    """Rows W^T, for rows (n, inputs) and W (outputs, inputs)."""
    if not batch_invariant:
        plain: Array = rows @ weight.T
        return plain
    count, inputs = rows.shape
    outputs = len(weight)
    if outputs == 1:  # a matrix by a vector is another function of BLAS
        weight = np.concatenate((weight, np.zeros_like(weight)))
    whole = count - count % _BLOCK
    out = np.empty((count, outputs), rows.dtype)
    columns = rows[:whole].reshape(-1, _BLOCK, inputs).swapaxes(1, 2)
    blocks = np.matmul(weight, columns).swapaxes(1, 2)[..., :outputs]
    out[:whole].reshape(-1, _BLOCK, outputs)[...] = blocks
    if whole < count:
        last = np.zeros((_BLOCK, inputs), rows.dtype)
        last[: count - whole] = rows[whole:]
        out[whole:] = np.matmul(weight, last.T).T[: count - whole, :outputs]
    return out


def affine(x: Array, weight: Array, bias: Array | None, batch_invariant: bool) -> Array:
    """X W^T + b, for x (..., inputs)."""
    out = product(x.reshape(-1, x.shape[-1]), weight, batch_invariant)
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], len(weight))


def affine_back(
    dout: Array, x: Array, weight: Array, batch_invariant: bool
) -> tuple[Array, Array, Array]:
    """Compute the derivatives by x, W and b."""
    rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, len(weight))
    dx = product(drows, weight.T, batch_invariant).reshape(x.shape)
    return dx, drows.T @ rows, drows.sum(axis=0)
