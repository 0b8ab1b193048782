"""Hessian-vector products: second derivatives of a loss behind attention.

For a loss L(attention(query, key, value)) and a direction in which the three move, the product of
the Hessian with the direction says how the gradient changes on the way. It has two parts,

    H v  =  Jᵀ (L'' (J v))  +  Σ L'_o · (second derivative of output o) v

The first, the Gauss-Newton product, is `regard.attention_jvp` and a vjp, and nothing else. The
second is the derivative of a vjp along the direction, its argument dL/dout held. regard has no
kernel for that. But a vjp is as smooth as the exponential, so that its central differences in
float64 leave little to wish for: 1e-10 of the product by 2 gradients, 1e-12 by 4, 1e-13 by 8.

Here they serve to find the ends of a Hessian's spectrum, by Lanczos' method in SciPy.

    pip install scipy
    python examples/hessian_vector.py
    python examples/hessian_vector.py --heads 8 --length 1024 --points 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

import regard

Array: TypeAlias = NDArray[np.float64]
Triple: TypeAlias = Sequence[Array]  # of query, key and value

# By the number of gradients: weights of f(nh) - f(-nh) for n = 1, 2, ... in h f'(0), and an h for
# scores that change by 1 at most. It balances what the differences leave out, h to the power of the
# number, and rounding errors divided by h.
DIFFERENCES = {
    2: ((1 / 2,), 1e-4),
    4: ((2 / 3, -1 / 12), 6e-3),
    8: ((4 / 5, -1 / 5, 4 / 105, -1 / 280), 1e-1),
}


@dataclass(frozen=True)
class Loss:
    """A loss of the output: its gradient, and how that changes when the output moves."""

    gradient: Callable[[Array], Array]  # of out
    product: Callable[[Array, Array], Array]  # of out and its move: the loss's own Hessian

    @staticmethod
    def squared_error(target: Array) -> Loss:
        """Half of the sum of squares of out - target."""
        return Loss(lambda out: out - target, lambda _, move: move)


def gauss_newton_product(loss: Loss, inputs: Triple, moves: Triple, **options: Any) -> Triple:
    """Jᵀ L'' J times a direction: positive semidefinite if the loss is convex. Exact."""
    return _gauss_newton(loss, inputs, moves, options)[1]


def hessian_product(
    loss: Loss, inputs: Triple, moves: Triple, points: int = 4, **options: Any
) -> Triple:
    """Multiply a direction by the Hessian of the loss by query, key and value.

    Parameters
    ----------
    loss : Loss
    inputs : tuple of ndarray
        Query, key and value, in float64.
    moves : tuple of ndarray
        The direction, of their shapes.
    points : {2, 4, 8}
        Gradients that are computed for the second part; more are more accurate.
    **options
        Those of `regard.attention`.

    Returns
    -------
    tuple of ndarray
        The product's parts by query, key and value.
    """
    out, totals = _gauss_newton(loss, inputs, moves, options)
    held = loss.gradient(out)
    weights, change = DIFFERENCES[points]
    step = change / _score_change(inputs, moves)
    for n, weight in enumerate(weights, start=1):
        for sign in (1, -1):
            moved = [x + sign * n * step * move for x, move in zip(inputs, moves, strict=True)]
            _, vjp = regard.attention_vjp(*moved, **options)
            for total, part in zip(totals, _triple(vjp(held)), strict=True):
                total += sign * weight / step * part
    return totals


def _gauss_newton(
    loss: Loss, inputs: Triple, moves: Triple, options: dict[str, Any]
) -> tuple[Array, Triple]:
    """Return the output too, which forward mode gives on the way."""
    (out, lse), (dout, _) = regard.attention_jvp(*inputs, *moves, return_lse=True, **options)
    by_out = loss.product(out, dout)
    query, key, value = inputs
    grads = regard.attention_backward(by_out, query, key, value, out, lse, **options)
    return out, _triple(grads)


def _score_change(inputs: Triple, moves: Triple) -> float:
    """Bound the change of a score along the direction, by Cauchy and Schwarz; 1 if none moves."""
    (query, key, _), (dquery, dkey, _) = inputs, moves
    longest = [np.sqrt(np.square(x).sum(axis=-1)).max() for x in (query, dquery, key, dkey)]
    bound = (longest[0] * longest[3] + longest[1] * longest[2]) / np.sqrt(query.shape[-1])
    return float(bound) or 1.0


def _triple(grads: regard.Gradients) -> Triple:
    query, key, value = grads.query, grads.key, grads.value
    assert query is not None
    assert key is not None
    assert value is not None
    return query, key, value


def ends(product: Callable[[Triple], Triple], start: Triple, tolerance: float) -> Array:
    """Smallest and largest eigenvalue of a symmetric product."""
    return _eigenvalues(product, start, tolerance, k=2, which="BE")


def largest(product: Callable[[Triple], Triple], start: Triple, tolerance: float) -> float:
    """Largest eigenvalue of a symmetric product."""
    return float(_eigenvalues(product, start, tolerance, k=1, which="LA")[0])


def _eigenvalues(
    product: Callable[[Triple], Triple], start: Triple, tolerance: float, **wanted: Any
) -> Array:
    """Find some eigenvalues by Lanczos' method, which only multiplies."""
    shapes = [x.shape for x in start]
    splits = np.cumsum([x.size for x in start])

    def flat(arrays: Triple) -> Array:
        return np.concatenate([x.ravel() for x in arrays])

    def matvec(vector: Array) -> Array:
        parts = np.split(vector, splits[:-1])
        return flat(product(tuple(x.reshape(n) for x, n in zip(parts, shapes, strict=True))))

    operator = LinearOperator((splits[-1],) * 2, matvec=matvec, dtype=np.float64)
    values: Array = eigsh(
        operator, v0=flat(start), tol=tolerance, return_eigenvectors=False, **wanted
    )
    return np.sort(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Show what products cost and how good they are, and use them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--points", type=int, choices=tuple(DIFFERENCES), default=4)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of eigenvalues, relative")
    given = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    shape = given.heads, given.length, given.head_dim
    inputs, moves = (tuple(rng.standard_normal((3, *shape))) for _ in range(2))
    loss = Loss.squared_error(rng.standard_normal(shape))
    options: dict[str, Any] = {"causal": True}

    gradient = np.inf
    for _ in range(5):
        start = time.perf_counter()
        out, vjp = regard.attention_vjp(*inputs, **options)
        vjp(loss.gradient(out))
        gradient = min(gradient, time.perf_counter() - start)
    print(f"one gradient: {gradient * 1e3:.0f} ms\n")
    print("product by  time in gradients  differs from the last by")
    exact = np.stack(hessian_product(loss, inputs, moves, max(DIFFERENCES), **options))
    for points in DIFFERENCES:
        start = time.perf_counter()
        product = np.stack(hessian_product(loss, inputs, moves, points, **options))
        seconds = time.perf_counter() - start
        apart = abs(product - exact).max() / abs(exact).max()
        print(f"{points:10}  {seconds / gradient:17.1f}  {apart:24.0e}")

    def whole(direction: Triple) -> Triple:
        return hessian_product(loss, inputs, direction, given.points, **options)

    def part(direction: Triple) -> Triple:
        return gauss_newton_product(loss, inputs, direction, **options)

    print("\n                 smallest   largest eigenvalue")
    low, high = ends(whole, moves, given.tolerance)
    print(f"{'Hessian':15}  {low:8.4f}  {high:8.4f}")
    # Positive semidefinite, with more inputs than outputs: 0 is among its eigenvalues.
    print(f"{'Gauss-Newton':15}  {0:8}  {largest(part, moves, given.tolerance):8.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
