"""Add & Norm: a branch added to what went into it, with the norm before or after.

pre-norm    y = x + f(norm(x))
post-norm   y = norm(x + f(x))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard.nn._dropout import Dropout
from regard.nn._gradients import BackWithOptions, LayerGradients, named
from regard.nn._norms import LayerNorm, RMSNorm

Array: TypeAlias = NDArray[Any]
Norm: TypeAlias = LayerNorm | RMSNorm


def add_branch(
    x: Array,
    branch: Callable[[Array], Array],
    norm: Norm,
    norm_first: bool,
    dropout: float,
    seed: int | None,
) -> Array:
    """Compute it; dropout is that of the branch."""
    y = branch(norm(x) if norm_first else x)
    if dropout and seed is not None:
        y = Dropout(dropout)(y, seed=seed)
    y += x
    return y if norm_first else norm(y)


def add_branch_vjp(
    x: Array,
    branch: Callable[[Array], tuple[Array, BackWithOptions]],
    norm: Norm,
    norm_first: bool,
    dropout: float,
    seed: int | None,
    names: tuple[str, str],
) -> tuple[Array, BackWithOptions]:
    """Compute it, and return the way back; names are the prefixes of norm and branch."""
    if norm_first:
        unit, back_norm = norm.vjp(x)
    y, back_branch = branch(unit if norm_first else x)
    y, back_dropout = Dropout(dropout).vjp(y, seed=seed)
    y = y + x
    if not norm_first:
        y, back_norm = norm.vjp(y)

    def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
        if norm_first:
            inner = back_branch(back_dropout(dout).x, wrt)
            of_norm = back_norm(inner.x)
            dx = dout + of_norm.x
        else:
            of_norm = back_norm(dout)
            inner = back_branch(back_dropout(of_norm.x).x, wrt)
            dx = of_norm.x + inner.x
        parameters = named(names[1], inner.parameters) | named(names[0], of_norm.parameters)
        return LayerGradients(dx, parameters, inner.memory, options=inner.options)

    return y, back


def without_options(
    vjp: Callable[[Array], tuple[Array, Callable[[ArrayLike], LayerGradients]]],
) -> Callable[[Array], tuple[Array, BackWithOptions]]:
    """Let a branch without attention be asked for options, of which it has no gradients."""

    def branch(x: Array) -> tuple[Array, BackWithOptions]:
        out, plain = vjp(x)

        def back(dout: ArrayLike, wrt: Iterable[str] = ()) -> LayerGradients:
            return plain(dout)

        return out, back

    return branch
