"""``attention`` of JAX arrays."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from regard._adapters import require_position_bias
from regard._call.layout import take_layout
from regard._call.messages import rename
from regard.jax._call import prepare
from regard.jax._primitives import attention_p

_TOKENS_FIRST = ("BSHD", "SHD")


@overload
def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    position_table: jax.Array | None = None,
    return_lse: Literal[False] = False,
    **options: Any,
) -> jax.Array: ...


@overload
def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    position_table: jax.Array | None = None,
    return_lse: Literal[True],
    **options: Any,
) -> tuple[jax.Array, jax.Array]: ...


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    position_table: jax.Array | None = None,
    return_lse: bool = False,
    **options: Any,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Attention of JAX arrays on the CPU, one call of the core in a compiled program.

    ``jit``, ``vmap``, ``checkpoint`` and first derivatives in both directions go through it.

    Parameters
    ----------
    query : jax.Array, shape (..., Hq, Sq, D)
        float32, float64, float16 or bfloat16.
    key : jax.Array, shape (..., Hkv, Sk, D)
    value : jax.Array, shape (..., Hkv, Sk, Dv)
    position_table : jax.Array, optional
        Takes the place of ``position_bias.table``, and has a gradient: for tables that are learned.
    return_lse : bool, default False
        Also return the logarithm of the softmax denominators, which has a gradient.
    **options
        As in `regard.attention`, but out. JAX arrays may be given as bias, sinks, alibi_slopes,
        query_scale (these have gradients), mask, key_mask, key_lengths, query_lengths,
        query_offset, seed, key_scales and value_scales; the others are part of the traced program.

    Returns
    -------
    out : jax.Array, shape (..., Hq, Sq, Dv)
        In the dtype of query.
    lse : jax.Array, shape (..., Hq, Sq)
        Only with return_lse; float64 for float64, else float32.

    Raises
    ------
    ValueError, TypeError
        A shape or an option does not fit; an option is traced that cannot be; or there are no
        gradients with it. All that while the program is traced; lengths that are traced and out
        of range are an error of JAX when it runs.
    NotImplementedError
        A derivative of a derivative is asked for, or forward mode by anything but query, key and
        value.

    See Also
    --------
    dot_product_attention : The same, with the arguments and the meaning of ``jax.nn``.

    Notes
    -----
    With "BSHD" or "SHD" as layout nothing is transposed in memory. Under ``vmap``, arrays that are
    the same for all calls are not repeated; dropout, and sinks, seeds and tables that differ
    between the calls, make them run one after the other.

    Examples
    --------
    >>> import jax
    >>> import regard.jax
    >>> x = jax.numpy.ones((8, 100, 16))
    >>> loss = lambda x: regard.jax.attention(x, x, x, causal=True).sum()
    >>> jax.jit(jax.grad(loss))(x).shape
    (8, 100, 16)
    """
    letters = options.get("layout")
    try:
        out, lse = _attention(query, key, value, position_table, options)
    except (TypeError, ValueError) as error:
        rename(error, "attention", letters)
        raise
    return (out, lse) if return_lse else out


def _attention(
    query: Any, key: Any, value: Any, table: Any, options: dict[str, Any]
) -> tuple[jax.Array, jax.Array]:
    inputs = {"query": jnp.asarray(query), "key": jnp.asarray(key), "value": jnp.asarray(value)}
    if table is not None:
        require_position_bias(options, "regard.bias.Relative(np.zeros((9, heads)))")
    letters = options.get("layout")
    layout = take_layout(options)
    if layout is not None:
        by_head = {name: layout.by_head(x, name) for name, x in inputs.items()}  # counts axes
        if letters not in _TOKENS_FIRST:
            inputs = by_head
        for name in ("key_scales", "value_scales"):
            if options.get(name) is not None:
                options[name] = layout.by_head(jnp.asarray(options[name]), name, rows=True)
    tokens_first = letters in _TOKENS_FIRST
    call, arrays = prepare(inputs, options, table, tokens_first)
    out, lse = attention_p.bind(*arrays, call=call)
    # The axes that the arrays came without.
    rank, given = max(x.ndim for x in inputs.values()), inputs["query"].ndim
    if given == 1:
        out, lse = out[..., 0, :], lse[..., 0]
    if rank == 2:
        out, lse = out[0], lse[0]
    if layout is not None and not tokens_first:
        out = layout.as_given(out)
    return out, lse
