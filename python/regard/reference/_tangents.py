"""Directional derivatives by the definition: what the output does when the inputs move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regard.reference._gradients import _before_softcap, _kept, _undropped, before_score_mod
from regard.reference._scores import unit_vectors
from regard.reference._shapes import Array, per_head, per_query, per_query_head, with_heads
from regard.reference._softmax import probabilities, weighted_sum
from regard.reference._stored import values


def attention_jvp(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dquery: ArrayLike | None = None,
    dkey: ArrayLike | None = None,
    dvalue: ArrayLike | None = None,
    **options: Any,
) -> tuple[Array, Array, Array, Array]:
    """Push a change of query, key and value forward through attention, in float64.

    ::

        dS   = scale · query_scale · (dQ Kᵀ + Q dKᵀ), through the softcap
        dLSE = rowsum(P ∘ dS)
        dO   = (P ∘ (dS - dLSE) ∘ R) V + (P ∘ R) dV          R = what dropout multiplies P by

    Parameters
    ----------
    query, key, value
        As for :func:`attention`.
    dquery, dkey, dvalue : array_like, of the shapes of query, key, value, optional
        The direction in which they move; None is 0.
    **options
        Those of :func:`attention` but ``return_lse``, ``out`` and ``num_threads``.

    Returns
    -------
    out, lse, dout, dlse : ndarray of float64

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> q, k, v, dv = np.random.default_rng(0).standard_normal((4, 3, 5))
    >>> out, lse, dout, dlse = reference.attention_jvp(q, k, v, dvalue=dv)
    >>> bool(np.allclose(dout, reference.attention(q, k, dv)))  # linear in the values
    True
    """
    q, k, v = (with_heads(values(x)) for x in (query, key, value))
    p, lse, sees = probabilities(query, key, batch=v.shape[:-3], **_undropped(options))
    heads = p.shape[-3]
    r = _kept(options, p.shape, None)
    dq = np.zeros_like(q) if dquery is None else with_heads(values(dquery))
    dk, dv = (
        per_query_head(np.zeros_like(x) if dx is None else with_heads(values(dx)), heads)
        for x, dx in ((k, dkey), (v, dvalue))
    )
    keys, in_values = per_query_head(k, heads), per_query_head(v, heads)
    cosine = options.get("similarity", "dot") == "cosine"
    scale = options.get("scale")
    if scale is None:
        scale = 1 if cosine else 1 / np.sqrt(q.shape[-1])
    with np.errstate(all="ignore"):
        one, done = (unit_vectors(q), _unit_tangent(q, dq)) if cosine else (q, dq)
        other, dother = (unit_vectors(keys), _unit_tangent(keys, dk)) if cosine else (keys, dk)
        ds = done @ other.swapaxes(-1, -2) + one @ dother.swapaxes(-1, -2)
        ds = ds * per_head("scale", scale, heads)
        if options.get("query_scale") is not None:
            ds = ds * per_query(options["query_scale"], p.shape)
        ds = np.where(sees, ds, 0)
        ds = _before_softcap(np.broadcast_to(ds, p.shape), q, k, options)
        ds = before_score_mod(ds, q, k, options)
        dlse = (p * ds).sum(axis=-1)
        out = weighted_sum(p * r, in_values, sees)
        dout = weighted_sum(p * (ds - dlse[..., np.newaxis]) * r, in_values, sees)
        dout += weighted_sum(p * r, dv, sees)
    if np.ndim(query) == 1:
        out, dout, lse, dlse = out[..., 0, :], dout[..., 0, :], lse[..., 0], dlse[..., 0]
    if max(np.ndim(query), np.ndim(key), np.ndim(value)) == 2:
        out, dout, lse, dlse = out[0], dout[0], lse[0], dlse[0]
    return out, lse, dout, dlse


def _unit_tangent(x: Array, dx: Array) -> Array:
    """How x / |x| moves when x does; 0 for a vector of zeros."""
    norm = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    unit = unit_vectors(x)
    along = (dx * unit).sum(axis=-1, keepdims=True)
    tangent: Array = np.where(norm == 0, 0, (dx - along * unit) / np.where(norm == 0, 1, norm))
    return tangent
