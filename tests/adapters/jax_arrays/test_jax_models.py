"""Models of Flax with our attention in them: what they compute, and what they learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax: Any = pytest.importorskip("jax")
linen: Any = pytest.importorskip("flax.linen")
optax: Any = pytest.importorskip("optax")
adapter: Any = pytest.importorskip("regard.jax")
jnp = jax.numpy


def attention_fn(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, *,
    is_causal: bool = False, dropout_rng: Any = None, dropout_rate: float = 0.0,
    deterministic: bool = False, **_: Any,
) -> Any:  # fmt: skip
    """As in the guide."""
    dropout = 0.0 if deterministic else dropout_rate
    return adapter.attention(
        query,
        key,
        value,
        bias=bias,
        mask=None if mask is None else mask.astype(bool),
        causal="upper_left" if is_causal else False,
        dropout=dropout,
        seed=jax.random.bits(dropout_rng, (), "uint32") if dropout else None,
        layout="BSHD",
    )


class Model(linen.Module):
    ours: bool
    dropout: float = 0.0

    @linen.compact
    def __call__(self, tokens: Any, train: bool = False) -> Any:
        x = linen.Embed(11, 16)(tokens)
        mask = linen.make_causal_mask(tokens)
        function = {"attention_fn": attention_fn} if self.ours else {}
        for _ in range(2):
            layer = linen.MultiHeadDotProductAttention(
                num_heads=4, dropout_rate=self.dropout, deterministic=not train, **function
            )
            x = x + layer(linen.LayerNorm()(x), mask=mask)
        return linen.Dense(11)(x)


def trained(ours: bool) -> tuple[Any, list[float]]:
    tokens = jnp.asarray(np.cumsum(np.ones((4, 12), np.int32), axis=1) * [[1], [2], [3], [5]] % 11)
    model = Model(ours)
    parameters = model.init(jax.random.key(0), tokens)
    optimizer = optax.adam(1e-2)

    def loss(parameters: Any) -> Any:
        logits = model.apply(parameters, tokens)[:, :-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @jax.jit
    def step(parameters: Any, state: Any) -> Any:
        found, gradients = jax.value_and_grad(loss)(parameters)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(parameters, updates), state, found

    state, losses = optimizer.init(parameters), []
    for _ in range(30):
        parameters, state, found = step(parameters, state)
        losses.append(float(found))
    return model.apply(parameters, tokens), losses


def test_training_takes_the_same_way() -> None:
    (out, losses), (want, usual) = trained(ours=True), trained(ours=False)
    assert losses[-1] < 0.2 * losses[0]
    np.testing.assert_allclose(losses, usual, rtol=1e-3)
    np.testing.assert_allclose(out, want, atol=5e-2)


def test_dropout_while_training() -> None:
    tokens = jnp.arange(10)[None]
    model = Model(ours=True, dropout=0.5)
    parameters = model.init(jax.random.key(0), tokens)

    def call(seed: int, train: bool = True) -> Any:
        return model.apply(parameters, tokens, train, rngs={"dropout": jax.random.key(seed)})

    np.testing.assert_array_equal(call(1), call(1))
    assert not np.allclose(call(1), call(2))
    np.testing.assert_allclose(
        call(1, train=False), Model(ours=False).apply(parameters, tokens), atol=1e-5
    )


def test_nnx() -> None:
    nnx: Any = pytest.importorskip("flax.nnx")
    layers = [
        nnx.MultiHeadAttention(
            num_heads=4, in_features=16, decode=False, rngs=nnx.Rngs(0), **function
        )
        for function in ({}, {"attention_fn": attention_fn})
    ]
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 16)), jnp.float32)
    mask = nnx.make_causal_mask(x[..., 0])
    want, got = (layer(x, mask=mask) for layer in layers)
    np.testing.assert_allclose(got, want, atol=1e-5)
