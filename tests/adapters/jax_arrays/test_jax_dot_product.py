"""``dot_product_attention`` against that of ``jax.nn``, forward and gradients."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

jax: Any = pytest.importorskip("jax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy

B, T, S, N, K, H = 2, 6, 9, 4, 2, 8
RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return jnp.asarray(RNG.standard_normal(shape), dtype)


def lengths(*numbers: int) -> Any:
    return jnp.asarray(numbers, jnp.int32)


MASK = RNG.random((B, N, T, S)) < 0.5
MASK[0, 1, 3] = False  # a query that sees nothing
GRID: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": -0.3},
    "bias": {"bias": normal(B, N, T, S)},
    "bias of heads": {"bias": normal(N, 1, S), "is_causal": True},
    "bias of halves": {"bias": normal(1, 1, T, S, dtype=np.float16)},
    "mask": {"mask": jnp.asarray(MASK)},
    "mask of keys": {"mask": jnp.asarray(MASK[:, :1, :1])},
    "mask, bias, causal": {"mask": jnp.asarray(MASK[0]), "bias": normal(T, S), "is_causal": True},
    "lengths": {"query_seq_lengths": lengths(4, 6), "key_value_seq_lengths": lengths(9, 5)},
    "lengths, causal": {
        "query_seq_lengths": lengths(6, 2), "key_value_seq_lengths": lengths(3, 8),
        "is_causal": True,
    },
    "no keys, too many": {"key_value_seq_lengths": lengths(0, 12)},
    "no queries, too many": {"query_seq_lengths": lengths(0, 12)},
    "window": {"local_window_size": (2, 1)},
    "window, one number": {"local_window_size": 2, "is_causal": True},
    "window on one side": {"local_window_size": (-1, 3)},
    "window that sees nothing": {
        "local_window_size": (0, -2), "key_value_seq_lengths": lengths(4, 9),
    },
}  # fmt: skip


def inputs(queries: int = T, dtype: Any = np.float32, heads: int = K) -> list[Any]:
    rng = np.random.default_rng(1)
    shapes = (B, queries, N, H), (B, S, heads, H), (B, S, heads, H), (B, queries, N, H)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def compared(function: Any, options: dict[str, Any], arrays: list[Any]) -> Any:
    """Output, and gradients by query, key, value, bias."""
    *given, dout = arrays
    options = dict(options)
    if "bias" in options:
        given.append(options.pop("bias"))

    def loss(*given: Any) -> Any:
        out = function(*given, **options)
        return (out * dout).sum().astype(np.float32), out

    wanted = tuple(range(len(given)))
    gradients, out = jax.jit(jax.grad(loss, wanted, has_aux=True))(*given)
    return out, *gradients


@pytest.mark.parametrize("options", GRID.values(), ids=GRID)
def test_float32(options: dict[str, Any]) -> None:
    arrays = inputs()
    got = compared(adapter.dot_product_attention, options, arrays)
    want = compared(jax.nn.dot_product_attention, options, arrays)
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        tolerance = 3e-3 if a.dtype == np.float16 else 3e-5
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("heads", [1, 4])
def test_heads_and_more_queries_than_keys(heads: int) -> None:
    arrays = inputs(queries=20, heads=heads)
    options = {"local_window_size": (4, 0), "is_causal": True}
    got = compared(adapter.dot_product_attention, options, arrays)
    want = compared(jax.nn.dot_product_attention, options, arrays)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["bias", "lengths, causal"])
def test_16_bits(dtype: str, name: str) -> None:
    """Roundings away from jax.nn in float32, which has no float16 on the CPU."""
    arrays = inputs(dtype=dtype)
    wide = [x.astype(np.float32) for x in arrays]
    want = compared(jax.nn.dot_product_attention, GRID[name], wide)
    got = compared(adapter.dot_product_attention, GRID[name], arrays)
    kinds = [dtype] * 4 + ["float32"] * (len(got) - 4)
    for a, b, kind in zip(got, want, kinds, strict=True):
        assert a.dtype == kind
        most = 2 * float(jnp.finfo(dtype).eps) * np.abs(b).max()
        np.testing.assert_allclose(np.asarray(a, np.float32), b, atol=most)


@pytest.mark.parametrize("name", ["mask", "lengths"])
def test_residual(name: str) -> None:
    *arrays, _ = inputs()
    parameters = inspect.signature(jax.nn.dot_product_attention).parameters
    if "return_residual" not in parameters:
        pytest.skip("the installed JAX has no return_residual")
    got, want = (
        function(*arrays, return_residual=True, **GRID[name])
        for function in (adapter.dot_product_attention, jax.nn.dot_product_attention)
    )
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-5)


def test_three_axes_and_arrays_of_numpy() -> None:
    *arrays, _ = (np.asarray(x) for x in inputs())
    whole = adapter.dot_product_attention(*arrays, is_causal=True, implementation="xla")
    one = adapter.dot_product_attention(*(x[1] for x in arrays), is_causal=True)
    np.testing.assert_array_equal(one, whole[1])
    want = jax.nn.dot_product_attention(*(x[1] for x in arrays), is_causal=True)
    np.testing.assert_allclose(one, want, atol=1e-6)


def test_a_scale_that_is_learned() -> None:
    *arrays, dout = inputs()

    def loss(scale: Any, function: Any) -> Any:
        return (function(*arrays, scale=scale) * dout).sum()

    got, want = (
        jax.grad(loss)(0.4, function)
        for function in (adapter.dot_product_attention, jax.nn.dot_product_attention)
    )
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_arguments_are_those_of_jax() -> None:
    ours, theirs = (
        inspect.signature(f).parameters.values()
        for f in (adapter.dot_product_attention, jax.nn.dot_product_attention)
    )
    mine = {p.name: (p.kind, p.default) for p in ours}
    for parameter in theirs:
        assert mine[parameter.name] == (parameter.kind, parameter.default)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": (B, S, K, 5)}, "key and value differ"),
        ({"query": (B, T, N, 5)}, "batch or head_dim"),
        ({"query": (B, T, 3, H)}, "no multiple"),
        ({"query": (H,), "key": (1, 2, B, S, K, H), "value": (1, 2, B, S, K, H)}, "3 or 4 axes"),
        ({"mask": (T, S)}, "mask has dtype float32"),
        ({"query_seq_lengths": (B,)}, "Give int32 of shape"),
    ],
    ids=str,
)
def test_errors(change: Any, message: str) -> None:
    shapes = {"query": (B, T, N, H), "key": (B, S, K, H), "value": (B, S, K, H), **change}
    with pytest.raises(ValueError, match=message):
        adapter.dot_product_attention(**{name: jnp.ones(s) for name, s in shapes.items()})
    with pytest.raises(ValueError, match="implementation is 'best'"):
        adapter.dot_product_attention(*inputs()[:3], implementation="best")
