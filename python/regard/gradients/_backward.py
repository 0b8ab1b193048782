"""``attention_backward``: gradients from an output and LSE that the caller has kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regard._arrays import coerce
from regard._call.messages import in_the_name_of
from regard.gradients._call import DifferentiableCall
from regard.gradients._pull_back import pull_back
from regard.gradients._result import Buffers, Gradients

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Unpack

    from regard._call.types import DifferentiableOptions


@in_the_name_of("attention_backward")
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
    **options: Unpack[DifferentiableOptions],
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
    call = DifferentiableCall("attention_backward", query, key, value, {**options})
    saved = coerce(out, "out", "input"), coerce(lse, "lse", "input")
    return pull_back(call, *saved, dout, dlse, wrt, gradients, accumulate)
