"""Gradients of attention: what a loss that depends on the output makes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard import _core
from regard._arrays import coerce
from regard.gradients._targets import Call

if TYPE_CHECKING:
    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Gradients:
    """Derivatives of a loss by the inputs of attention.

    Each has the shape of its input; None is what was not asked for.

    Attributes
    ----------
    query, key, value : ndarray, optional
        In the dtype of the inputs.
    bias : ndarray, optional
        Of the shape the bias was given in: summed over what it was broadcast along.
    sinks, alibi_slopes : ndarray, optional
    position_bias : ndarray, optional
        By the table of the position bias, of the shape of its ``table``.
    """

    query: Array | None = None
    key: Array | None = None
    value: Array | None = None
    bias: Array | None = None
    sinks: Array | None = None
    alibi_slopes: Array | None = None
    position_bias: Array | None = None


NAMES = tuple(field.name for field in fields(Gradients))

# What `out` may be: buffers for some of the gradients.
Buffers: TypeAlias = "Gradients | Mapping[str, NDArray[Any]] | None"


class Vjp:
    """What `attention_vjp` returns: pulls derivatives by the output back to the inputs.

    Holds the inputs, the output and its LSE, all of which have to stay as they are until it is
    called. May be called as often as one likes.
    """

    def __init__(self, call: Call, out: Array, lse: Array) -> None:
        self._call = call
        self._out = out
        #: The logarithm of the softmax denominators, shape (..., Hq, Sq).
        self.lse = lse

    def __call__(
        self,
        dout: ArrayLike,
        dlse: ArrayLike | None = None,
        *,
        wrt: Sequence[str] | str | None = None,
        out: Buffers = None,
        accumulate: bool = False,
    ) -> Gradients:
        """Compute gradients.

        Parameters
        ----------
        dout : array_like
            Derivative of the loss by the output, of its shape.
        dlse : array_like, optional
            Derivative of the loss by the LSE, of its shape; 0 if not given.
        wrt : sequence of str, optional
            Names of the inputs whose gradients are wanted: "query", "key", "value" (the default is
            these three), and, if the call had them, "bias", "sinks", "alibi_slopes",
            "position_bias".
        out : Gradients or mapping of str to ndarray, optional
            Arrays to write gradients into, by the names of the inputs; any strides, but no memory
            in common with an input or with each other.
        accumulate : bool, default False
            Add to what the arrays in ``out`` hold.

        Returns
        -------
        Gradients
            Those asked for; arrays given in ``out`` are the ones in it.

        Raises
        ------
        ValueError, TypeError
            An argument does not fit; nothing has been written.
        """
        return run(self._call, self._out, self.lse, dout, dlse, wrt, out, accumulate)


def attention_vjp(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, **options: Any
) -> tuple[Array, Vjp]:
    r"""Attention, and a function that gives its gradients.

    Parameters
    ----------
    query : array_like, shape (..., Hq, Sq, D)
    key : array_like, shape (..., Hkv, Sk, D)
    value : array_like, shape (..., Hkv, Sk, Dv)
    **options
        As in `regard.attention`, all of them, but return_lse and out.

    Returns
    -------
    out : ndarray, shape (..., Hq, Sq, Dv)
        What `regard.attention` returns, bit for bit.
    vjp : callable
        ``vjp(dout, dlse=None, *, wrt=None, out=None, accumulate=False)`` takes the derivatives of a
        loss by the output, and by the LSE if it depends on that (it is ``vjp.lse``), and returns
        `Gradients`: see `regard.Vjp`.

    Raises
    ------
    ValueError, TypeError
        As `regard.attention` does.

    See Also
    --------
    attention_backward : The same for callers who keep output and LSE themselves.
    attention_jvp : Forward mode.
    regard.reference.gradients : The definition, in float64 NumPy.

    Notes
    -----
    Between the two passes only the output and its LSE are kept: the weights are computed again,
    tile by tile [1]_. Memory is linear in the length. Bitwise the same result for every number of
    threads; what dropout leaves out is drawn again by its place.

    References
    ----------
    .. [1] Dao, T. et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
       IO-Awareness", 2022.

    Examples
    --------
    A step of gradient descent on the values, for a loss that is half the squared error:

    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> query, key, value, target = rng.standard_normal((4, 8, 100, 16), dtype=np.float32)
    >>> out, vjp = regard.attention_vjp(query, key, value, causal=True)
    >>> grads = vjp(out - target)
    >>> grads.query.shape, grads.value.dtype, grads.bias
    ((8, 100, 16), dtype('float32'), None)
    >>> better = regard.attention(query, key, value - 0.1 * grads.value, causal=True)
    >>> bool(np.square(better - target).sum() < np.square(out - target).sum())
    True
    """
    call = Call("attention_vjp", query, key, value, options)
    out, lse = call.forward()
    return out, Vjp(call, out, lse)


def attention_backward(
    dout: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    out: ArrayLike,
    lse: ArrayLike,
    *,
    dlse: ArrayLike | None = None,
    wrt: Sequence[str] | str | None = None,
    gradients: Buffers = None,
    accumulate: bool = False,
    **options: Any,
) -> Gradients:
    """Gradients of attention from its output and LSE.

    Parameters
    ----------
    dout : array_like, shape (..., Hq, Sq, Dv)
        Derivative of the loss by the output.
    query, key, value : array_like
        The inputs of the call.
    out, lse : array_like
        What ``regard.attention(query, key, value, return_lse=True, **options)`` returned.
    dlse : array_like, shape (..., Hq, Sq), optional
        Derivative of the loss by the LSE.
    wrt, accumulate
        As in `regard.Vjp`.
    gradients : Gradients or mapping of str to ndarray, optional
        Arrays to write into: ``out`` in `regard.Vjp`.
    **options
        Those of the call.

    Returns
    -------
    Gradients

    Raises
    ------
    ValueError, TypeError
        An argument does not fit; nothing has been written.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> query, key, value, dout = np.random.default_rng(0).standard_normal((4, 2, 50, 8))
    >>> out, lse = regard.attention(query, key, value, softcap=5.0, return_lse=True)
    >>> grads = regard.attention_backward(dout, query, key, value, out, lse, softcap=5.0)
    >>> grads.key.shape
    (2, 50, 8)
    """
    call = Call("attention_backward", query, key, value, options)
    saved = coerce(out, "out", "input"), coerce(lse, "lse", "input")
    return run(call, *saved, dout, dlse, wrt, gradients, accumulate)


def varlen_attention_vjp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    **options: Any,
) -> tuple[Array, Vjp]:
    """Attention within each piece of a packed batch, and a function that gives its gradients.

    Parameters
    ----------
    query : array_like, shape (total_q, Hq, D)
    key : array_like, shape (total_k, Hkv, D)
    value : array_like, shape (total_k, Hkv, Dv)
    cu_seqlens_q, cu_seqlens_k : array_like of int, shape (pieces + 1,)
    **options
        As in `regard.varlen_attention`, but return_lse and out.

    Returns
    -------
    out : ndarray, shape (total_q, Hq, Dv)
    vjp : callable
        As that of `attention_vjp`; gradients have the shapes of the packed inputs, and ``dlse`` is
        (Hq, total_q).

    Raises
    ------
    ValueError, TypeError
        As `regard.varlen_attention` does.

    Examples
    --------
    >>> import numpy as np
    >>> import regard
    >>> rng = np.random.default_rng(0)
    >>> query, key, value, dout = rng.standard_normal((4, 10, 4, 16))
    >>> out, vjp = regard.varlen_attention_vjp(query, key, value, [0, 3, 10], [0, 3, 10])
    >>> grads = vjp(dout)
    >>> second = [x[3:].swapaxes(0, 1) for x in (query, key, value, dout)]
    >>> alone = regard.attention_vjp(*second[:3])[1](second[3])
    >>> bool((grads.key[3:].swapaxes(0, 1) == alone.key).all())
    True
    """
    call = Call("varlen_attention_vjp", query, key, value, options, (cu_seqlens_q, cu_seqlens_k))
    out, lse = call.forward()
    return out, Vjp(call, out, lse)


def run(
    call: Call,
    out: Array,
    lse: Array,
    dout: ArrayLike,
    dlse: ArrayLike | None,
    wrt: Sequence[str] | str | None,
    buffers: Buffers,
    accumulate: bool,
) -> Gradients:
    """Check what is wanted, and have the core compute it."""
    names = _wanted(wrt, call)
    given = _buffers(buffers, names)
    if accumulate and not given:
        raise ValueError(
            "attention: accumulate adds to arrays, and none are given.\n  Give them by the names "
            "of the inputs, e.g. {'query': array}."
        )
    by_out = call.upstream(dout, "dout", out)
    by_lse = None if dlse is None else call.upstream(dlse, "dlse", lse)
    results = {name: call.result(name, given.get(name), accumulate) for name in names}
    call.check_apart(given, (("dout", by_out), ("dlse", by_lse), ("out", out), ("lse", lse)))
    targets = {name: result.target for name, result in results.items()}
    core_out = call.by_head(out) if out.ndim == 3 else out
    # Arrays that are made here hold zeros.
    adds = accumulate or not given
    _core.backward(
        call.query, call.key, call.value, call.options or None, core_out, lse, by_out, by_lse,
        targets, adds,
    )  # fmt: skip
    return Gradients(**{name: result.finish() for name, result in results.items()})


def _wanted(wrt: Sequence[str] | str | None, call: Call) -> tuple[str, ...]:
    if wrt is None:
        return "query", "key", "value"
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"attention: wrt has {name!r}.\n  Choose among {', '.join(map(repr, NAMES))}."
            )
        if name not in ("query", "key", "value") and name not in call.options:
            raise ValueError(
                f"attention: wrt has {name!r}, which the call was not given.\n  Ask for gradients "
                "of what is given."
            )
    return tuple(dict.fromkeys(names))


def _buffers(buffers: Buffers, names: tuple[str, ...]) -> dict[str, Array]:
    if buffers is None:
        return {}
    if isinstance(buffers, Gradients):
        given = {name: getattr(buffers, name) for name in NAMES}
    elif isinstance(buffers, Mapping):
        given = dict(buffers)
    else:
        raise TypeError(
            f"attention: out is a {type(buffers).__name__}.\n  Give a dict of arrays by the names "
            "of the inputs, or what an earlier call returned."
        )
    given = {name: array for name, array in given.items() if array is not None}
    for name, array in given.items():
        if name not in names:
            raise ValueError(
                f"attention: out has an array for {name!r}, whose gradient is not asked for.\n  "
                f"Asked for are {', '.join(map(repr, names))}: see wrt."
            )
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"attention: out[{name!r}] is a {type(array).__name__}.\n  Give a NumPy array."
            )
    return given
