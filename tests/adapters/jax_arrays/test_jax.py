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


def test_a_seed_that_is_traced() -> None:
    x = np.random.default_rng(0).random((2, 5, 4), np.float32)
    got = jax.jit(lambda seed: adapter.attention(x, x, x, dropout=0.5, seed=seed))(7)
    np.testing.assert_array_equal(got, regard.attention(x, x, x, dropout=0.5, seed=7))


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


BIASES = {
    "relative": (regard.bias.Relative(np.zeros((9, 4))), (9, 4)),
    "for all heads": (regard.bias.Relative(np.zeros(9)), (9,)),
    "T5": (regard.bias.T5(np.zeros((8, 4)), max_distance=16), (8, 4)),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("kind", BIASES)
def test_all_that_is_learned_against_differences(kind: str, jit: bool) -> None:
    from jax.test_util import check_grads

    bias, shape = BIASES[kind]

    def call(q: Any, k: Any, v: Any, table: Any, scores: Any, sinks: Any, slopes: Any) -> Any:
        return adapter.attention(
            q, k, v, position_bias=bias, position_table=table, bias=scores, sinks=sinks,
            alibi_slopes=slopes, causal=True,
        )  # fmt: skip

    rng = np.random.default_rng(1)
    # Older versions keep it elsewhere.
    in_float64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with in_float64(True):
        shapes = (shape, (4, 1, 11), (4,), (4,))
        learned = [jnp.asarray(rng.standard_normal(s)) for s in shapes]
        function = jax.jit(call) if jit else call
        check_grads(function, (*inputs(np.float64)[:3], *learned), order=1, modes=["rev"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_learned_in_16_bits(dtype: str) -> None:
    kind = getattr(jnp, dtype)
    bias, shape = BIASES["T5"]
    rng = np.random.default_rng(1)
    # Slopes above 0, as slopes are: under others far keys count, and distances multiply errors.
    learned = [
        jnp.asarray(np.abs(rng.standard_normal(s)), kind) for s in (shape, (4, 1, 11), (4,), (4,))
    ]
    names = "position_table", "bias", "sinks", "alibi_slopes"
    *arrays, dout = inputs(kind)

    def loss(*learned: Any) -> Any:
        given = dict(zip(names, learned, strict=True))
        out = adapter.attention(*arrays, position_bias=bias, **given)
        return (out * dout).astype(np.float32).sum()

    got = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3)))(*learned)
    table, *others = (np.asarray(x, np.float64) for x in learned)
    options = dict(zip(names[1:], others, strict=True), position_bias=bias.with_table(table))
    wide = [np.asarray(x, np.float64) for x in (dout, *arrays)]
    want = reference.gradients(*wide, **options)
    for name, gradient in zip(names, got, strict=True):
        assert gradient.dtype == kind
        expected = getattr(want, name.replace("table", "bias"))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            np.asarray(gradient, np.float64), expected, atol=0.03 * scale, rtol=0.03
        )


def test_what_has_no_gradient_is_named() -> None:
    query, key, value, _ = inputs()
    with pytest.raises(TypeError, match="scale is traced"):
        jax.grad(lambda s: adapter.attention(query, key, value, scale=s).sum())(1.0)
    with pytest.raises(ValueError, match="position_table without position_bias"):
        adapter.attention(query, key, value, position_table=jnp.zeros(9))
    stored, scales = regard.quantize_kv(np.asarray(key))
    call = jax.jit(
        lambda q, s: adapter.attention(q, jnp.asarray(stored), value, key_scales=s).sum()
    )
    exact = regard.attention(np.asarray(query), stored, np.asarray(value), key_scales=scales)
    assert float(call(query, jnp.asarray(scales))) == pytest.approx(float(exact.sum()), rel=1e-5)
    with pytest.raises(ValueError, match="no derivatives with key_scales"):
        jax.grad(call)(query, jnp.asarray(scales))


def test_numbers_may_be_jax_arrays() -> None:
    query, key, value, _ = inputs()
    got = adapter.attention(query, key, value, scale=jnp.asarray(0.5), softcap=jnp.ones(4))
    want = adapter.attention(query, key, value, scale=0.5, softcap=1.0)
    np.testing.assert_array_equal(got, want)


def test_layout_and_key_mask() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((2, 6, h, 4)), jnp.float32) for h in (4, 2, 2))
    mask = jnp.asarray(rng.random((2, 6)) < 0.7)

    @jax.jit
    def loss(q: Any, k: Any, v: Any, mask: Any) -> Any:
        out = regard.jax.attention(q, k, v, causal=True, key_mask=mask, layout="BSHD")
        return (out**2).sum(), out

    (_, out), grads = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(q, k, v, mask)
    options = {"causal": True, "key_mask": np.asarray(mask), "layout": "BSHD"}
    arrays = [np.asarray(x) for x in (q, k, v)]
    expected, vjp = regard.attention_vjp(*arrays, **options)
    np.testing.assert_array_equal(out, expected)
    for got, right in zip(grads, vjp(2 * expected), strict=True):
        np.testing.assert_array_equal(got, right)
