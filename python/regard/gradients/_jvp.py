"""``attention_jvp``: how the output moves when the inputs do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import coerce
from regard._bfloat16 import rounded
from regard._call.messages import in_the_name_of
from regard.gradients._call import DifferentiableCall

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import Unpack

    from regard._call.types import DifferentiableOptions

    Array: TypeAlias = NDArray[Any]


@overload
def attention_jvp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dquery: ArrayLike | None = None,
    dkey: ArrayLike | None = None,
    dvalue: ArrayLike | None = None,
    *,
    return_lse: Literal[False] = False,
    **options: Unpack[DifferentiableOptions],
) -> tuple[Array, Array]: ...


@overload
def attention_jvp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dquery: ArrayLike | None = None,
    dkey: ArrayLike | None = None,
    dvalue: ArrayLike | None = None,
    *,
    return_lse: Literal[True],
    **options: Unpack[DifferentiableOptions],
) -> tuple[tuple[Array, Array], tuple[Array, Array]]: ...


@overload
def attention_jvp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dquery: ArrayLike | None = None,
    dkey: ArrayLike | None = None,
    dvalue: ArrayLike | None = None,
    *,
    return_lse: bool,
    **options: Unpack[DifferentiableOptions],
) -> tuple[Array, Array] | tuple[tuple[Array, Array], tuple[Array, Array]]: ...


@in_the_name_of("attention_jvp")
def attention_jvp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dquery: ArrayLike | None = None,
    dkey: ArrayLike | None = None,
    dvalue: ArrayLike | None = None,
    *,
    return_lse: bool = False,
    **options: Unpack[DifferentiableOptions],
) -> tuple[Array, Array] | tuple[tuple[Array, Array], tuple[Array, Array]]:
    r"""Attention and its derivative along a direction, in one pass.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
    value : array_like, shape (..., Hkv, Sk, Dv)
    dquery, dkey, dvalue : array_like, optional
        The direction in which query, key and value move, of their shapes. None stays.
    return_lse : bool, default False
        Also return the LSE and its derivative.
    **options
        Those of `regard.attention`.

    Returns
    -------
    out : ndarray, shape (..., Hq, Sq, Dv)
        What `regard.attention` returns; (out, lse) with return_lse.
    dout : ndarray, shape (..., Hq, Sq, Dv)
        Its derivative along the direction; (dout, dlse) with return_lse.

    Raises
    ------
    ValueError, TypeError
        An argument does not fit.

    See Also
    --------
    attention_vjp : Reverse mode: all gradients of one loss.

    Notes
    -----
    ``dS = scale * (dQ Kᵀ + Q dKᵀ)``, through the softcap; ``dLSE = rowsum(P ∘ dS)`` and
    ``dO = (P ∘ (dS - dLSE)) V + P dV``, each summed online with the weights. Memory is linear in
    the length.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> query, key, value, move = np.random.default_rng(0).standard_normal((4, 2, 50, 8))
    >>> out, dout = regard.attention_jvp(query, key, value, dkey=move)
    >>> ahead = regard.attention(query, key + 1e-6 * move, value)
    >>> bool(np.allclose((ahead - out) / 1e-6, dout, atol=1e-5))
    True
    """
    call = DifferentiableCall("attention_jvp", query, key, value, {**options})
    moves = [
        _move(call, argument, move)
        for argument, move in (("query", dquery), ("key", dkey), ("value", dvalue))
    ]
    out, dout, lse, dlse = _core.tangent(
        call.query, call.key, call.value, call.options or None, *moves
    )
    out, dout = call.as_given(out), call.as_given(dout)
    return ((out, lse), (dout, dlse)) if return_lse else (out, dout)


def _move(call: DifferentiableCall, name: str, move: ArrayLike | None) -> Array | None:
    """Bring a move into the form that the core takes: with all batch axes."""
    if move is None:
        return None
    of: Array = getattr(call, name)
    array = call.by_head(coerce(move, f"d{name}", "input"), f"d{name}")
    if array.shape != of.shape:
        raise ValueError(
            f"attention: d{name} has shape {array.shape}; {name} has {of.shape}.\n  A direction "
            "has the shape of what moves."
        )
    return call.with_batch(rounded(array, call.computed))
