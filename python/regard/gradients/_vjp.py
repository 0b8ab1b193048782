"""``attention_vjp``: attention, and a function that pulls derivatives back to the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

from regard._call.messages import in_the_name_of
from regard.gradients._call import DifferentiableCall
from regard.gradients._pull_back import pull_back
from regard.gradients._result import Buffers, Gradients

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from regard._call.types import DifferentiableOptions

    Array: TypeAlias = NDArray[Any]


class Vjp:
    """What `attention_vjp` returns: pulls derivatives by the output back to the inputs.

    Holds the inputs, the output and its LSE, all of which have to stay as they are until it is
    called. May be called as often as one likes.
    """

    def __init__(self, call: DifferentiableCall, out: Array, lse: Array) -> None:
        self._call = call
        self._out = out
        #: The logarithm of the softmax denominators, shape (..., Hq, Sq).
        self.lse = lse

    @in_the_name_of("vjp")
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
            "position_bias", "query_scale".
        out : Gradients or mapping of str to ndarray, optional
            Arrays to write gradients into, by the names of the inputs; any strides, but no memory
            in common with an input or with each other.
        accumulate : bool, default False
            Add to what the arrays in ``out`` hold.

        Returns
        -------
        Gradients
            Those asked for, in the order of wrt; arrays given in ``out`` are the ones in it.

        Raises
        ------
        ValueError, TypeError
            An argument does not fit; nothing has been written.
        """
        return pull_back(self._call, self._out, self.lse, dout, dlse, wrt, out, accumulate)


@in_the_name_of("attention_vjp")
def attention_vjp(
    query: ArrayLike, key: ArrayLike, value: ArrayLike, **options: Unpack[DifferentiableOptions]
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
    >>> grads.query.shape, grads.value.dtype
    ((8, 100, 16), dtype('float32'))
    >>> better = regard.attention(query, key, value - 0.1 * grads.value, causal=True)
    >>> bool(np.square(better - target).sum() < np.square(out - target).sum())
    True
    """
    call = DifferentiableCall("attention_vjp", query, key, value, {**options})
    out, lse = call.forward()
    return out, Vjp(call, out, lse)


@in_the_name_of("varlen_attention_vjp")
def varlen_attention_vjp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    cu_seqlens_q: ArrayLike,
    cu_seqlens_k: ArrayLike,
    **options: Unpack[DifferentiableOptions],
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
    starts = (cu_seqlens_q, cu_seqlens_k)
    call = DifferentiableCall("varlen_attention_vjp", query, key, value, {**options}, starts)
    out, lse = call.forward()
    return out, Vjp(call, out, lse)
