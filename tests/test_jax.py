"""Attention on JAX arrays: values and gradients, traced and not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from regard import reference

jax: Any = pytest.importorskip("jax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy


def inputs(dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(0)
    shapes = (2, 4, 9, 8), (2, 2, 11, 8), (2, 2, 11, 5), (2, 4, 9, 5)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True, "window": (3, None), "softcap": 2.0}, {"dropout": 0.2, "seed": 3}],
    ids=str,
)
def test_values_and_gradients(jit: bool, options: dict[str, Any]) -> None:
    query, key, value, dout = inputs()

    def loss(query: Any, key: Any, value: Any) -> Any:
        return (adapter.attention(query, key, value, **options) * dout).sum()

    function = jax.value_and_grad(loss, argnums=(0, 1, 2))
    total, gradients = (jax.jit(function) if jit else function)(query, key, value)
    arrays = [np.asarray(x) for x in (query, key, value)]
    out, vjp = regard.attention_vjp(*arrays, **options)
    expected = vjp(np.asarray(dout))
    assert float(total) == pytest.approx(float((out * np.asarray(dout)).sum()), rel=1e-5)
    for got, want in zip(gradients, (expected.query, expected.key, expected.value), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


def test_gradients_are_those_of_jax() -> None:
    query, key, value, dout = inputs()

    def ours(*x: Any) -> Any:
        return (adapter.attention(*x) * dout).sum()

    def theirs(query: Any, key: Any, value: Any) -> Any:
        key, value = (jnp.repeat(x, 2, axis=1) for x in (key, value))
        weights = jax.nn.softmax(query @ key.swapaxes(-1, -2) / np.sqrt(8), axis=-1)
        return (weights @ value * dout).sum()

    got = jax.jit(jax.grad(ours, argnums=(0, 1, 2)))(query, key, value)
    want = jax.grad(theirs, argnums=(0, 1, 2))(query, key, value)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_options_that_are_traced() -> None:
    query, key, value, dout = inputs()
    bias, slopes = jnp.ones((4, 1, 11)) * 0.3, jnp.asarray([0.5, 0.25, 0.1, 0.0])
    lengths = jnp.asarray([11, 4])

    @jax.jit
    def gradients(bias: Any, slopes: Any, lengths: Any) -> Any:
        def loss(bias: Any, slopes: Any) -> Any:
            out = adapter.attention(
                query, key, value, bias=bias, alibi_slopes=slopes, key_lengths=lengths
            )
            return (out * dout).sum()

        return jax.grad(loss, argnums=(0, 1))(bias, slopes)

    got = gradients(bias, slopes, lengths)
    arrays = [np.asarray(x) for x in (query, key, value)]
    _, vjp = regard.attention_vjp(
        *arrays, bias=np.asarray(bias), alibi_slopes=np.asarray(slopes),
        key_lengths=np.asarray(lengths),
    )  # fmt: skip
    want = vjp(np.asarray(dout), wrt=["bias", "alibi_slopes"])
    np.testing.assert_allclose(got[0], want.bias, rtol=1e-6)
    np.testing.assert_allclose(got[1], want.alibi_slopes, rtol=1e-5)


def test_vmap_and_an_array_without_batch() -> None:
    query, key, value, _ = inputs()
    each = jax.vmap(lambda *x: adapter.attention(*x, causal=True))(query, key, value)
    np.testing.assert_array_equal(each, adapter.attention(query, key, value, causal=True))


def test_bfloat16() -> None:
    query, key, value, dout = inputs(jnp.bfloat16)

    def loss(query: Any) -> Any:
        return (adapter.attention(query, key, value) * dout).astype(np.float32).sum()

    gradient = jax.jit(jax.grad(loss))(query)
    assert gradient.dtype == jnp.bfloat16
    wide = [np.asarray(x, np.float64) for x in (query, key, value, dout)]
    want = reference.gradients(wide[3], *wide[:3]).query
    np.testing.assert_allclose(np.asarray(gradient, np.float64), want, atol=0.03)
