"""Gradients by the definition: what a change of each input does to a loss, pair by pair."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regard.reference._scores import mapped, scores, unit_vectors
from regard.reference._shapes import (
    Array,
    offsets,
    per_head,
    per_query,
    per_query_head,
    with_heads,
)
from regard.reference._softmax import probabilities, weighted_sum
from regard.reference._stored import values
from regard.reference.philox import factors

_POSITIONS = ("causal", "key_lengths", "query_lengths", "query_offset")


class Gradients(NamedTuple):
    """Gradients of a loss, each of the shape of its input; None for what was not given."""

    query: Array
    key: Array
    value: Array
    bias: Array | None
    sinks: Array | None
    alibi_slopes: Array | None
    position_bias: Array | None
    query_scale: Array | None = None


def gradients(
    dout: ArrayLike,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    *,
    dlse: ArrayLike | None = None,
    elements: NDArray[np.int64] | None = None,
    **options: Any,
) -> Gradients:
    r"""Pull the gradient of a loss back through attention, in float64.

    ::

        P, O, LSE = softmax of S, P V, log Σ exp(S)       R = what dropout multiplies P by
        D   = rowsum(dO ∘ O) - dLSE
        dV  = (P ∘ R)ᵀ dO
        dP  = R ∘ (dO Vᵀ)
        dS  = P ∘ (dP - D)                                bias, position_bias: sums of dS
        dS' = score_mod_gradient(dS, S)                   before score_mod; ALiBi: sums of dS'
        dS' = dS' ∘ (1 - tanh²)                           before the softcap
        dQ  = scale · f ∘ dS' K,   dK = scale · (f ∘ dS')ᵀ Q     f = query_scale
        df  = scale · rowsum(dS' ∘ Q Kᵀ)
        dsink = -Σ exp(sink - LSE) D

    Parameters
    ----------
    dout : array_like, of the shape of the output
        Derivative of the loss by each number of the output.
    query, key, value
        As for :func:`attention`.
    dlse : array_like, of the shape of the LSE, optional
        Derivative of the loss by each LSE; 0 if not given.
    elements : ndarray of int64, optional
        The numbers that dropout knows the batch elements by.
    **options
        Those of :func:`attention` but ``return_lse``, ``out`` and ``num_threads``.

    Returns
    -------
    Gradients
        Sums over what was broadcast, and over the query heads that share a kv head. The gradient of
        a position bias is that of its table.

    Examples
    --------
    >>> import numpy as np
    >>> from regard import reference
    >>> x = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    >>> loss = lambda x: reference.attention(x, x, x, scale=1.0)[:, 0].sum()
    >>> dout = np.array([[1.0, 0]] * 4)
    >>> by_input = reference.gradients(dout, x, x, x, scale=1.0)
    >>> total = by_input.query + by_input.key + by_input.value
    >>> step = np.zeros((4, 2))
    >>> step[1, 0] = 1e-5
    >>> bool(np.isclose((loss(x + step) - loss(x - step)) / 2e-5, total[1, 0]))
    True
    """
    q, k, v = (with_heads(values(x)) for x in (query, key, value))
    p, lse, sees = probabilities(
        query, key, batch=v.shape[:-3], elements=elements, **_undropped(options)
    )
    shape = p.shape
    r = _kept(options, shape, elements)
    keys, in_values = per_query_head(k, shape[-3]), per_query_head(v, shape[-3])
    do = values(dout).reshape(*shape[:-1], v.shape[-1])
    dl = np.zeros(lse.shape) if dlse is None else np.asarray(dlse, np.float64).reshape(lse.shape)
    with np.errstate(all="ignore"):  # NaN and Inf are legal here, and stay in rows that see them
        out = weighted_sum(p * r, in_values, sees)
        d = (do * out).sum(axis=-1) - dl
        dp = r * np.where(sees, do @ in_values.swapaxes(-1, -2), 0)
        ds = np.where(sees, p * (dp - d[..., np.newaxis]), 0)
        dv = weighted_sum((p * r).swapaxes(-1, -2), do, sees.swapaxes(-1, -2))
        of_scores = _by_biases(ds, options)
        ds = before_score_mod(ds, q, k, options, elements)
        of_scores["alibi_slopes"] = _by_alibi(ds, options)
        ds = _before_softcap(ds, q, k, options)
        dq, dk = _by_query_and_key(ds, q, keys, sees, options)
        of_scores["query_scale"] = _by_query_scale(ds, q, k, options)
        sinks = options.get("sinks")
        dsinks = None
        if sinks is not None:
            sink = np.asarray(sinks, np.float64)[:, np.newaxis]
            share = np.exp(np.where(np.isneginf(sink), -np.inf, sink - lse))
            past = np.isneginf(lse)
            dsinks = sum_to(np.where(past, 0, -share * d).sum(axis=-1), sink.shape[:1])
    group = (k.shape[-3], shape[-3] // max(k.shape[-3], 1))
    dk, dv = (x.reshape(*x.shape[:-3], *group, *x.shape[-2:]).sum(axis=-3) for x in (dk, dv))
    return Gradients(
        sum_to(dq, q.shape).reshape(np.shape(query)),
        sum_to(dk, k.shape).reshape(np.shape(key)),
        sum_to(dv, v.shape).reshape(np.shape(value)),
        of_scores["bias"],
        dsinks,
        of_scores["alibi_slopes"],
        of_scores["position_bias"],
        of_scores["query_scale"],
    )


def _undropped(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: x for name, x in options.items() if name not in ("dropout", "seed", "num_threads")
    }


def _kept(
    options: dict[str, Any], shape: tuple[int, ...], elements: NDArray[np.int64] | None
) -> Array:
    """Return what dropout multiplies the weights by."""
    if not options.get("dropout"):
        return np.ones((1, 1))
    batch = shape[:-3]
    if elements is None:
        elements = np.arange(np.prod(batch, dtype=int)).reshape(batch)
    heads, queries, keys = shape[-3:]
    return factors(options["dropout"], options["seed"], elements, (heads, queries, keys))


def before_score_mod(
    ds: Array,
    q: Array,
    k: Array,
    options: dict[str, Any],
    elements: NDArray[np.int64] | None = None,
) -> Array:
    """Through the gradient of a function of the scores, at what it was given."""
    if options.get("score_mod") is None:
        return ds
    given = _given(options, "scale", "query_scale", "similarity", "softcap", "alibi_slopes")
    offset = offsets(ds.shape, **{n: options[n] for n in _POSITIONS if n in options})
    s = scores(q, k, batch=ds.shape[:-3], offset=offset, **given)
    return np.where(ds == 0, 0, mapped(options["score_mod_gradient"], elements, ds, s))


def _by_alibi(ds: Array, options: dict[str, Any]) -> Array | None:
    """Sum dS over the pairs of a head, times their distances."""
    if options.get("alibi_slopes") is None:
        return None
    *_, queries, keys = ds.shape
    offset = offsets(ds.shape, **{n: options[n] for n in _POSITIONS if n in options})
    distance = np.abs(np.arange(queries)[:, np.newaxis] + offset - np.arange(keys))
    return sum_to(-(ds * distance).sum(axis=(-1, -2)), np.shape(options["alibi_slopes"]))


def _by_biases(ds: Array, options: dict[str, Any]) -> dict[str, Array | None]:
    """Gradients of bias and table: sums of dS over all pairs that share a number."""
    found: dict[str, Array | None] = dict.fromkeys(("bias", "position_bias"))
    *_, heads, queries, keys = ds.shape
    where = {name: options[name] for name in _POSITIONS if name in options}
    offset = offsets(ds.shape, **where)
    if options.get("bias") is not None:
        found["bias"] = sum_to(ds, np.shape(options["bias"]))
    if options.get("position_bias") is not None:
        bias = options["position_bias"]
        rows = copy.copy(bias)  # the same bias of row numbers says which row each pair takes
        rows.table = np.arange(len(bias.table))[:, np.newaxis]
        total = np.zeros((len(bias.table), heads))
        for at in np.ndindex(ds.shape[:-3]):
            first = np.broadcast_to(offset, (*ds.shape[:-3], 1, 1, 1))[at].item()
            index = rows.to_dense(queries, keys, first)[0]
            for head in range(heads):
                np.add.at(total[:, head], index, ds[at][head])
        found["position_bias"] = sum_to(total, bias.table.shape)
    return found


def _before_softcap(ds: Array, q: Array, k: Array, options: dict[str, Any]) -> Array:
    cap = options.get("softcap")
    if cap is None:
        return ds
    s = scores(q, k, batch=ds.shape[:-3], **_given(options, "scale", "query_scale", "similarity"))
    c = per_head("softcap", cap, ds.shape[-3])
    t = np.tanh(s / np.where(c > 0, c, np.inf))
    return np.where(ds == 0, 0, ds * (1 - t**2))


def _given(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options.get(name) is not None}


def _by_query_scale(ds: Array, q: Array, k: Array, options: dict[str, Any]) -> Array | None:
    if options.get("query_scale") is None:
        return None
    s = scores(q, k, batch=ds.shape[:-3], **_given(options, "scale", "similarity"))
    by_row = np.where(ds == 0, 0, ds * s).sum(axis=-1)
    return sum_to(by_row, np.shape(options["query_scale"]))


def _by_query_and_key(
    ds: Array, q: Array, k: Array, sees: NDArray[np.bool_], options: dict[str, Any]
) -> tuple[Array, Array]:
    """Gradients of Q and K, the latter for each query head."""
    cosine = options.get("similarity", "dot") == "cosine"
    scale = options.get("scale")
    if scale is None:
        scale = 1 if cosine else 1 / np.sqrt(q.shape[-1])
    ds = ds * per_head("scale", scale, ds.shape[-3])
    if options.get("query_scale") is not None:
        ds = ds * per_query(options["query_scale"], ds.shape)
    one, other = (unit_vectors(q), unit_vectors(k)) if cosine else (q, k)
    one = np.broadcast_to(one, (*ds.shape[:-1], q.shape[-1]))
    other = np.broadcast_to(other, (*ds.shape[:-2], *k.shape[-2:]))
    dq = weighted_sum(ds, other, sees)
    dk = weighted_sum(ds.swapaxes(-1, -2), one, sees.swapaxes(-1, -2))
    if cosine:
        dq, dk = _through_norm(dq, q, one), _through_norm(dk, k, other)
    return dq, dk


def _through_norm(dunit: Array, x: Array, unit: Array) -> Array:
    """From the gradient of x / |x| to that of x; 0 for a vector of zeros."""
    norm = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    along = (dunit * unit).sum(axis=-1, keepdims=True)
    through: Array = np.where(norm == 0, 0, (dunit - along * unit) / np.where(norm == 0, 1, norm))
    return through


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes that `shape` was broadcast along."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    ones = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    total: Array = x.sum(axis=ones, keepdims=True)
    return total
