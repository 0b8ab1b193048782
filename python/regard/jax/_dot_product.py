"""``jax.nn.dot_product_attention``, argument by argument."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from regard.jax._attention import attention

# What hides a score in jax.nn, so that a row of nothing else has equal weights.
_HIDDEN = -0.7 * float(np.finfo(np.float32).max)


@overload
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: Any = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: Literal["xla", "cudnn"] | None = None,
    return_residual: Literal[False] = False,
) -> jax.Array: ...


@overload
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: Any = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: Literal["xla", "cudnn"] | None = None,
    return_residual: Literal[True],
) -> tuple[jax.Array, jax.Array]: ...


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: Any = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: Literal["xla", "cudnn"] | None = None,
    return_residual: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Attention with the arguments and the meaning of `jax.nn.dot_product_attention`.

    Parameters
    ----------
    query : array_like, shape (B, T, N, H) or (T, N, H)
        float32, float64, float16 or bfloat16.
    key, value : array_like, shape (B, S, K, H) or (S, K, H)
        Of the dtype of query. N is a multiple of K.
    bias : array_like, optional
        Added to the scores. Broadcasts to (B, N, T, S). Has a gradient.
    mask : array_like of bool, optional
        True = attend. Broadcasts to (B, N, T, S).
    scale : float, optional
        Factor of the scores; default ``1 / sqrt(H)``. May be traced, and has a gradient.
    is_causal : bool, default False
        Query i sees the keys ``j <= i``.
    query_seq_lengths, key_value_seq_lengths : array_like of int32, shape (B,), optional
        How many leading queries and keys count; later queries give 0.
    local_window_size : int or (left, right), optional
        Query i sees ``i - left <= j <= i + right``.
    implementation : {None, "xla", "cudnn"}, optional
        Accepted, and of no consequence: this is one more implementation.
    return_residual : bool, default False
        Also return the LSE, in the dtype of key, which has no gradient.

    Returns
    -------
    out : jax.Array, shape of query
    residual : jax.Array, shape (B, T, N) or (T, N)
        Only with return_residual.

    Raises
    ------
    ValueError
        Shapes or dtypes do not fit.
    TypeError
        The arrays are no floats.

    See Also
    --------
    attention : All options, and any number of batch axes.

    Notes
    -----
    As in ``jax.nn``, a query that its masks let see no key gives the mean of all values; in
    `attention` it gives 0. What differs is rounding: softmax and sums are in float32, in float64
    for float64 (``jax.nn`` has the softmax in float32 there), and weights of 16-bit inputs are not
    always rounded. A bias of -inf hides like a mask, so that a row of them gives that mean and not
    NaN.

    Examples
    --------
    >>> import jax
    >>> import regard.jax
    >>> x = jax.random.normal(jax.random.key(0), (2, 10, 4, 8))
    >>> ours = regard.jax.dot_product_attention(x, x, x, is_causal=True)
    >>> theirs = jax.nn.dot_product_attention(x, x, x, is_causal=True)
    >>> bool(jax.numpy.allclose(ours, theirs, atol=1e-5))
    True
    """
    shape = jnp.shape(query)
    q, k, v = (_of_rank_4(x) for x in (query, key, value))
    lengths = {
        "query_seq_lengths": query_seq_lengths,
        "key_value_seq_lengths": key_value_seq_lengths,
    }
    _check(q, k, v, implementation)
    pairs = {
        name: None if x is None else _of_rank_4(x) for name, x in (("bias", bias), ("mask", mask))
    }
    _check_pairs(**pairs)
    counts = {name: _lengths(name, x, q.shape[0]) for name, x in lengths.items() if x is not None}
    window = local_window_size
    if isinstance(window, (int, np.integer)):
        window = (int(window), int(window))
    queries, keys = q.shape[1], k.shape[1]
    of_keys = counts.get("key_value_seq_lengths")
    options: dict[str, Any] = {
        "causal": "upper_left" if is_causal else False,
        "query_offset": np.zeros((), np.int64),
        "key_lengths": None if of_keys is None else jnp.clip(of_keys, 0, keys),
        "query_lengths": counts.get("query_seq_lengths"),
        **pairs,
    }
    if options["query_lengths"] is not None:
        options["query_lengths"] = jnp.clip(options["query_lengths"], 0, queries)
    if pairs["bias"] is not None:
        # The scores, which it is added to, are in float32 for 16-bit arrays.
        options["bias"] = pairs["bias"].astype(jnp.promote_types(q.dtype, jnp.float32))
    if window is not None:
        options["window"] = (int(window[0]), int(window[1]))
    if isinstance(scale, jax.core.Tracer):
        options.update(scale=1.0, query_scale=jnp.reshape(scale, (1, 1)))
    elif scale is not None:
        options["scale"] = float(scale)
    out, lse = attention(q, k, v, layout="BSHD", return_lse=True, **options)
    unseen = (lse == -jnp.inf).swapaxes(1, 2)  # (B, T, N)
    if keys > 0 and _may_see_nothing(pairs["mask"], pairs["bias"], of_keys, window, queries, keys):
        out = _with_means(out, v, unseen, options["query_lengths"])
    if not return_residual:
        return out.reshape(shape)
    residual = jnp.where(unseen, _HIDDEN, lse.swapaxes(1, 2)).astype(k.dtype)
    return out.reshape(shape), jax.lax.stop_gradient(residual).reshape(shape[:-1])


def _of_rank_4(x: Any) -> jax.Array:
    array = jnp.asarray(x)
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def _may_see_nothing(
    mask: Any, bias: Any, lengths: Any, window: tuple[int, int] | None, queries: int, keys: int
) -> bool:
    if mask is not None or bias is not None or lengths is not None:
        return True
    return window is not None and (min(window) < 0 or queries > keys + window[0])


def _with_means(
    out: jax.Array, value: jax.Array, unseen: jax.Array, query_lengths: Any
) -> jax.Array:
    """Give rows without keys the mean of the values of their head, unless they are padding."""
    means = value.mean(axis=1, keepdims=True, dtype=jnp.promote_types(value.dtype, jnp.float32))
    means = jnp.repeat(means, out.shape[2] // value.shape[2], axis=2).astype(out.dtype)
    if query_lengths is not None:
        counts = jnp.arange(out.shape[1]) < query_lengths[:, None]
        unseen &= counts[..., None]
    return jnp.where(unseen[..., None], means, out)


def _check(query: jax.Array, key: jax.Array, value: jax.Array, implementation: Any) -> None:
    shown = "\n".join(
        f"  {name}  {x.shape} {x.dtype}"
        for name, x in (("query", query), ("key", key), ("value", value))
    )
    advice = "  Give query (B, T, N, H), key and value (B, S, K, H), N a multiple of K."
    problem = None
    if not query.ndim == key.ndim == value.ndim == 4:
        problem = "query, key and value have 3 or 4 axes"
    elif key.shape != value.shape:
        problem = "key and value differ in shape"
    elif query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        problem = "query and key differ in batch or head_dim"
    elif key.shape[2] == 0 or query.shape[2] % key.shape[2]:
        problem = f"{query.shape[2]} heads of query are no multiple of {key.shape[2]}"
    elif not query.dtype == key.dtype == value.dtype:
        problem = "query, key and value differ in dtype"
    if problem:
        raise ValueError(f"dot_product_attention: {problem}.\n{shown}\n{advice}")
    if implementation not in (None, "xla", "cudnn"):
        raise ValueError(
            f"dot_product_attention: implementation is {implementation!r}.\n  Give None, 'xla' or "
            "'cudnn', which all mean regard's."
        )


def _check_pairs(bias: jax.Array | None, mask: jax.Array | None) -> None:
    for name, x in (("bias", bias), ("mask", mask)):
        if x is not None and x.ndim != 4:
            raise ValueError(
                f"dot_product_attention: {name} has shape {x.shape}.\n  Give an array that "
                "broadcasts to (B, N, T, S)."
            )
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(
            f"dot_product_attention: mask has dtype {mask.dtype}.\n  Give bool, True = attend; "
            "numbers to add to the scores are bias=."
        )


def _lengths(name: str, lengths: Any, batch: int) -> jax.Array:
    array = jnp.asarray(lengths)
    if array.shape != (batch,) or array.dtype != jnp.int32:
        raise ValueError(
            f"dot_product_attention: {name} has shape {array.shape}, dtype {array.dtype}.\n"
            f"  Give int32 of shape ({batch},)."
        )
    return array
