"""Attention on JAX arrays, with gradients: works under ``jit`` and ``grad``, on the CPU.

Imported only when asked for; JAX is installed by ``pip install "regard[jax]"``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import regard
from regard._adapters import call_arguments, refuse_derivatives, require_position_bias
from regard._bfloat16 import rounded
from regard._call.layout import take_layout
from regard._call.options import names
from regard.gradients import NAMES

_ARRAYS = names(lambda option: option.traced)
_WITHOUT_DERIVATIVES = names(lambda option: option.gradient == "refused")


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    position_table: jax.Array | None = None,
    **options: Any,
) -> jax.Array:
    """Attention of JAX arrays; ``jit`` compiles around it, and ``grad`` goes through it.

    Computed by a callback on the host, so for arrays on the CPU.

    Parameters
    ----------
    query : jax.Array, shape (..., Hq, Sq, D)
    key : jax.Array, shape (..., Hkv, Sk, D)
    value : jax.Array, shape (..., Hkv, Sk, Dv)
    position_table : jax.Array, optional
        Takes the place of ``position_bias.table``, and has a gradient: for tables that are learned.
    **options
        As in `regard.attention`, but return_lse and out. JAX arrays may be given as bias, sinks,
        alibi_slopes, query_scale (these have gradients), mask, key_lengths, query_lengths,
        query_offset, seed, key_scales and value_scales; the others are part of the traced program.

    Returns
    -------
    jax.Array, shape (..., Hq, Sq, Dv)
        In the dtype of query.

    Raises
    ------
    ValueError, TypeError
        An option is traced that cannot be, or there are no gradients with it. What else does not
        fit is found by the callback, whose message is in the error that JAX raises.

    Examples
    --------
    >>> import jax
    >>> import regard.jax
    >>> x = jax.numpy.ones((8, 100, 16))
    >>> loss = lambda x: regard.jax.attention(x, x, x, causal=True).sum()
    >>> jax.jit(jax.grad(loss))(x).shape
    (8, 100, 16)
    """
    traced = {"query": query, "key": key, "value": value}
    order = take_layout(options)
    if order is not None:
        traced = {name: order.by_head(x, name) for name, x in traced.items()}
        for name in ("key_scales", "value_scales"):
            if options.get(name) is not None:
                options[name] = order.by_head(options[name], name, rows=True)
    if position_table is not None:
        require_position_bias(options, "regard.bias.Relative(np.zeros((9, heads)))")
        traced["position_bias"] = position_table
    for name in _ARRAYS:
        if isinstance(options.get(name), jax.Array):
            traced[name] = options.pop(name)
    for name, x in options.items():
        if isinstance(x, jax.core.Tracer):
            raise TypeError(
                f"attention: {name} is traced.\n  Give a value that is known when the program is "
                "traced, e.g. by static_argnames of jit. It has no gradient."
            )
    options = {
        name: np.asarray(x) if isinstance(x, jax.Array) else x for name, x in options.items()
    }
    out: jax.Array = _attention(_Static(options), traced)
    return out if order is None else order.as_given(out)


class _Static:
    """Options that belong to the traced program; compared by identity of what they hold."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def _identity(self) -> tuple[Any, ...]:
        return tuple(
            (name, x if isinstance(x, (int, float, str, tuple, type(None))) else id(x))
            for name, x in sorted(self.options.items())
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(static: _Static, traced: dict[str, jax.Array]) -> jax.Array:
    return _forward(static, traced)[0]


def _forward(static: _Static, traced: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
    query, key, value = traced["query"], traced["key"], traced["value"]
    batch = jnp.broadcast_shapes(query.shape[:-3], key.shape[:-3], value.shape[:-3])
    rows = (*batch, *query.shape[-3:-1])
    numbers = np.float64 if query.dtype == np.float64 else np.float32

    def run(arrays: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        out, lse = regard.attention(**_host(arrays, static), return_lse=True)
        return out, lse

    shapes = (
        jax.ShapeDtypeStruct((*rows, value.shape[-1]), query.dtype),
        jax.ShapeDtypeStruct(rows, numbers),
    )
    out, lse = jax.pure_callback(run, shapes, traced, vmap_method="sequential")
    return out, (traced, out, lse)


def _backward(static: _Static, saved: Any, dout: jax.Array) -> tuple[dict[str, Any]]:
    traced, out, lse = saved
    refuse_derivatives(
        name
        for name in _WITHOUT_DERIVATIVES
        if name in traced or static.options.get(name) is not None
    )
    wanted = [name for name in traced if name in NAMES]  # a position bias by its table

    def run(arrays: dict[str, Any], out: Any, lse: Any, dout: Any) -> dict[str, NDArray[Any]]:
        gradients = regard.attention_backward(
            np.asarray(dout), out=np.asarray(out), lse=np.asarray(lse),
            wrt=wanted, **_host(arrays, static),
        )  # fmt: skip
        found = {name: getattr(gradients, name) for name in wanted}
        return {
            name: rounded(np.asarray(x), arrays[name].dtype).reshape(arrays[name].shape)
            for name, x in found.items()
        }

    shapes = {name: jax.ShapeDtypeStruct(traced[name].shape, traced[name].dtype) for name in wanted}
    gradients = jax.pure_callback(run, shapes, traced, out, lse, dout, vmap_method="sequential")
    # What counts or hides has no derivative, which JAX writes as a zero of the type float0.
    for name in traced.keys() - set(wanted):
        gradients[name] = np.zeros(traced[name].shape, jax.dtypes.float0)
    return (gradients,)


def _host(arrays: dict[str, Any], static: _Static) -> dict[str, Any]:
    """All arguments of the call, as NumPy's."""
    return call_arguments({name: np.asarray(x) for name, x in arrays.items()}, static.options)


_attention.defvjp(_forward, _backward)
