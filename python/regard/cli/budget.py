"""How large an error ``regard check`` excuses, from the arithmetic that a call has to do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard import reference
from regard._call.options import names
from regard.cli.storage import EPS, name_of

Array = NDArray[Any]

POSITIONS = names(lambda option: option.offset)


def bounds(query: Array, key: Array, value: Array, options: dict[str, Any]) -> tuple[float, float]:
    """Largest error excused in output and LSE.

    A score is a sum of head_dim rounded products: it is off by about eps times the sum of their
    magnitudes, and so by eps times what is added to it. softmax makes that a relative error of the
    weights, which sum to one. The 6 is for exp2 and the sums over keys, the 2 for luck; dropout
    divides what it keeps. An output of 16 bits is rounded once; where products are in bfloat16, so
    are the weights: two units of its precision, relative to the largest value, are for both.

    Parameters
    ----------
    query, key, value : ndarray, shape (..., heads, length, dim)
        Of any storage type; with a block_table, key and value are pages.
    options : dict
        As for :func:`regard.attention`.

    Returns
    -------
    output, lse : float

    Examples
    --------
    >>> import numpy as np
    >>> from regard.cli.budget import bounds
    >>> one = np.ones((1, 1, 1), np.float32)
    >>> bounds(one, one, one, {})[0] == 8 * 2.0**-23
    True
    """
    eps = EPS["float64" if query.dtype == np.float64 else "float32"]
    unit = EPS[name_of(query)]
    options = dict(options)
    scales = [options.pop(name, None) for name in ("key_scales", "value_scales")]
    table = options.pop("block_table", None)
    query = reference.stored(query)
    key = reference.stored(key, scales[0], table)
    value = reference.stored(value, scales[1], table)
    batch = np.broadcast_shapes(*(x.shape[:-3] for x in (query, key, value)))
    shape = (*batch, *query.shape[-3:-1], key.shape[-2])
    largest = _products(query, key, batch, options) + 2 * _added(shape, options)
    sinks = options.get("sinks")
    if sinks is not None:
        largest = max(largest, 2 * float(magnitude(sinks).max(initial=0)))
    error = eps * (6 + largest)
    kept = 1 - options.get("dropout", 0.0)
    of_output = error if unit <= EPS["float32"] else error + 2 * unit
    return of_output * float(magnitude(value).max(initial=0)) / kept, error


def _products(query: Array, key: Array, batch: tuple[int, ...], options: dict[str, Any]) -> float:
    """Error of a scaled and capped product, in eps."""
    cosine = options.get("similarity") == "cosine"
    same: dict[str, Any] = {"similarity": "cosine" if cosine else "dot"}
    scale, factor = options.get("scale"), options.get("query_scale")
    same["batch"] = batch
    magnitudes = reference.scores(
        magnitude(query),
        magnitude(key),
        scale=None if scale is None else np.abs(scale),
        query_scale=None if factor is None else magnitude(factor),
        **same,
    )
    error = magnitudes * (4 if cosine else 2)  # cosine divides by two norms
    cap = np.asarray(options.get("softcap", 0.0), dtype=np.float64)
    if cap.any():
        # The slope of the cap makes errors of large scores smaller; its tanh has 4 eps of its own.
        s = reference.scores(
            np.nan_to_num(query), np.nan_to_num(key), scale=scale, query_scale=factor, **same
        )
        cap = cap.reshape(-1, *(1, 1) * cap.ndim)
        t = np.tanh(s / np.where(cap > 0, cap, np.inf))
        error = error * (1 - t**2) + 4 * np.abs(np.where(cap > 0, cap * t, 0))
    return float(error.max(initial=0))


def _added(shape: tuple[int, ...], options: dict[str, Any]) -> float:
    """Largest magnitude of what is added to a product."""
    *batch, heads, queries, keys = shape
    offset = reference.offsets(shape, **{n: options[n] for n in POSITIONS if n in options})
    total = 0.0
    if "alibi_slopes" in options:
        ends = np.array([[0], [queries - 1]]) - [0, keys - 1] + offset
        distance = float(np.abs(ends).max(initial=0))
        total += distance * float(magnitude(options["alibi_slopes"]).max(initial=0))
    if "position_bias" in options:
        nothing = np.zeros((heads, queries, 1)), np.zeros((heads, keys, 1))
        dense = reference.scores(
            *nothing, batch=tuple(batch), position_bias=options["position_bias"], offset=offset
        )
        total += float(np.abs(dense).max(initial=0))
    if "score_mod" in options:  # as regard.cli.options draws it
        total += 1 + 0.01 * max(queries, keys) + 0.1 * math.prod(batch)
    if "bias" in options:
        total += float(magnitude(options["bias"]).max(initial=0))
    return total


def magnitude(x: Array) -> Array:
    """Absolute values, and 0 for what is not finite."""
    finite: Array = np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)
    return finite
