"""vmap, derivatives in both directions, checkpoint, scan: against loops and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard

jax: Any = pytest.importorskip("jax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy

CALLS, HEADS, QUERIES, KEYS = 2, 4, 5, 7
# One element of each, and how many calls to batch.
SHAPES: dict[str, tuple[int, ...]] = {
    "query": (2, HEADS, QUERIES, 8),
    "key": (2, 2, KEYS, 8),
    "value": (2, 2, KEYS, 6),
    "bias": (HEADS, 1, KEYS),
    "sinks": (HEADS,),
    "alibi_slopes": (HEADS,),
    "query_scale": (QUERIES,),
}
TABLE = (9, HEADS)
RELATIVE = regard.bias.Relative(np.zeros(TABLE))


def array(shape: tuple[int, ...], seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def call(given: dict[str, Any], **options: Any) -> Any:
    given = dict(given)
    inputs = [given.pop(name) for name in ("query", "key", "value")]
    return adapter.attention(*inputs, **given, **options)


def arguments(names: Any, batched: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    shapes = {**SHAPES, "mask": (QUERIES, KEYS), "key_lengths": (2,), "position_table": TABLE}
    given = {}
    for seed, name in enumerate(names):
        x = array((CALLS, *shapes[name]) if name in batched else shapes[name], seed)
        if name == "mask":
            x = x < 0.7
        if name == "key_lengths":
            x = jnp.floor(x * KEYS).astype(jnp.int32)
        given[name] = x
    return given, {name: 0 if name in batched else None for name in given}


def one_of(given: dict[str, Any], batched: Any, n: int) -> dict[str, Any]:
    return {name: x[n] if name in batched else x for name, x in given.items()}


BATCHED = [
    ("query",), ("value",), ("query", "key", "value"), ("bias",), ("mask",),
    ("sinks",), ("position_table",), ("key", "mask", "alibi_slopes"),
    ("query_scale", "key_lengths"),
]  # fmt: skip


@pytest.mark.parametrize("batched", BATCHED, ids=" ".join)
def test_vmap_is_a_loop(batched: tuple[str, ...]) -> None:
    names = dict.fromkeys(("query", "key", "value", *batched))
    options = {"position_bias": RELATIVE} if "position_table" in batched else {}
    learned = [name for name in names if name not in ("mask", "key_lengths")]
    given, axes = arguments(names, batched)
    weights = array((2, HEADS, QUERIES, 6), 9)

    def loss(given: Any) -> Any:
        out = call(given, **options)
        return (out * weights).sum(), out

    def gradients(given: Any) -> Any:
        floats = {name: given[name] for name in learned}
        return jax.grad(lambda x: loss({**given, **x}), has_aux=True)(floats)

    got, out = jax.jit(jax.vmap(gradients, in_axes=(axes,)))(given)
    one = jax.jit(gradients)
    for n in range(CALLS):
        want, want_out = one(one_of(given, batched, n))
        np.testing.assert_array_equal(out[n], want_out)
        for name in learned:
            np.testing.assert_allclose(got[name][n], want[name], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("batched", [("query",), ("value", "mask"), ("sinks",)], ids=" ".join)
def test_gradient_of_vmap(batched: tuple[str, ...]) -> None:
    given, axes = arguments(dict.fromkeys(("query", "key", "value", "bias", *batched)), batched)
    floats = {name: x for name, x in given.items() if x.dtype == jnp.float32}

    def loss(floats: Any) -> Any:
        return (jax.vmap(call, in_axes=(axes,))({**given, **floats}) ** 2).sum()

    def looped(floats: Any) -> Any:
        every = {**given, **floats}
        return sum((call(one_of(every, batched, n)) ** 2).sum() for n in range(CALLS))

    got, want = jax.jit(jax.grad(loss))(floats), jax.grad(looped)(floats)
    for name in floats:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, atol=2e-5)


def test_vmap_of_vmap() -> None:
    query, key, value = array((2, 3, 4, 5, 8)), array((3, 2, 4, 7, 8)), array((4, 7, 8))
    mask = array((3, 5, 7)) < 0.6
    inner = jax.vmap(lambda q, k, m: adapter.attention(q, k, value, mask=m))
    got = jax.vmap(inner, in_axes=(0, 1, None))(query, key, mask)
    for a in range(2):
        for b in range(3):
            want = adapter.attention(query[a, b], key[b, a], value, mask=mask[b])
            np.testing.assert_array_equal(got[a, b], want)


def test_vmap_repeats_dropout() -> None:
    x = array((3, 2, 5, 4))
    options = {"dropout": 0.5, "seed": 3}
    got = jax.vmap(lambda x: adapter.attention(x, x, x, **options))(x)
    for n in range(3):
        np.testing.assert_array_equal(got[n], adapter.attention(x[n], x[n], x[n], **options))


def test_vmap_does_not_repeat_what_is_the_same() -> None:
    query, key = array((3, 2, 5, 8)), array((2, 70, 8))
    text = jax.jit(jax.vmap(adapter.attention, (0, None, None))).lower(query, key, key).as_text()
    line = next(line for line in text.splitlines() if "@regard_attention" in line)
    assert line.count("tensor<1x2x70x8xf32>") + line.count("tensor<2x70x8xf32>") == 2


@pytest.mark.parametrize("layout", [None, "BSHD"])
@pytest.mark.parametrize("options", [{}, {"causal": True, "softcap": 2.0}], ids=str)
def test_forward_mode(options: dict[str, Any], layout: str | None) -> None:
    shapes = (2, 4, 5, 8), (1, 2, 7, 8), (2, 2, 7, 6)
    arrays, moves = ([array(s, n + seed) for n, s in enumerate(shapes)] for seed in (0, 5))
    want_out, want = regard.attention_jvp(*map(np.asarray, [*arrays, *moves]), **options)
    if layout:
        arrays, moves = ([x.swapaxes(1, 2) for x in xs] for xs in (arrays, moves))
        want_out, want = (x.swapaxes(1, 2) for x in (want_out, want))

    def function(*x: Any) -> Any:
        return adapter.attention(*x, layout=layout, **options)

    out, moved = jax.jit(lambda a, m: jax.jvp(function, a, m))(tuple(arrays), tuple(moves))
    np.testing.assert_array_equal(out, want_out)
    np.testing.assert_allclose(moved, want, rtol=1e-6, atol=1e-6)
    jacobian = jax.jacfwd(lambda q: function(q, *arrays[1:])[0, 0, 0])(arrays[0])
    reverse = jax.jacrev(lambda q: function(q, *arrays[1:])[0, 0, 0])(arrays[0])
    np.testing.assert_allclose(jacobian, reverse, atol=2e-6)


def test_the_lse_has_derivatives() -> None:
    query, key = array((2, 5, 8)), array((2, 7, 8), 1)

    def ours(query: Any, key: Any) -> Any:
        return adapter.attention(query, key, key, return_lse=True)[1]

    def theirs(query: Any, key: Any) -> Any:
        return jax.nn.logsumexp(query @ key.swapaxes(1, 2) / np.sqrt(8), axis=-1)

    weights = array((2, 5), 2)
    got, want = (
        jax.grad(lambda q, k, f=f: (f(q, k) * weights).sum(), (0, 1))(query, key)
        for f in (ours, theirs)
    )
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_checkpoint_and_scan() -> None:
    x, layers = array((2, 6, 8)), array((3, 8, 8), 1)

    def block(x: Any, weights: Any) -> Any:
        y = x @ weights
        return x + adapter.attention(y, y, y, causal=True)

    def loss(layers: Any, x: Any, wrap: Any) -> Any:
        return jax.lax.scan(lambda x, w: (wrap(block)(x, w), None), x, layers)[0].sum()

    want = jax.grad(loss)(layers, x, lambda f: f)
    for wrap in (jax.checkpoint, lambda f: jax.checkpoint(f, policy=POLICY)):
        got = jax.jit(jax.grad(loss), static_argnums=2)(layers, x, wrap)
        np.testing.assert_allclose(got, want, rtol=1e-5)


POLICY = jax.checkpoint_policies.dots_saveable


def test_only_what_moves_is_computed() -> None:
    x = array((2, 5, 8))
    lowered = jax.jit(jax.grad(lambda q: adapter.attention(q, x, x).sum())).lower(x).as_text()
    assert 'results = "query"' in lowered


def test_what_there_are_no_derivatives_of() -> None:
    x = array((2, 5, 8))
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        jax.hessian(lambda q: adapter.attention(q, x, x).sum())(x)
    with pytest.raises(NotImplementedError, match="no forward mode for bias"):
        jax.jvp(lambda b: adapter.attention(x, x, x, bias=b), (x[:, :, :5],), (x[:, :, :5],))
