"""Gradients of every layer of `regard.nn` against central differences, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from regard import nn
from regard.bias import Relative
from regard.positions import Rope

RNG = np.random.default_rng(5)
SIZES = {"features": 8, "num_heads": 4, "hidden": 12, "dtype": "float64", "activation": "gelu"}
X, MEMORY = RNG.standard_normal((2, 4, 8)), RNG.standard_normal((2, 3, 8))
ROWS, REMEMBERED = X.reshape(8, 8), MEMORY.reshape(6, 8)
OFFSETS, OF_MEMORY = [0, 3, 3, 8], [0, 2, 5, 6]
TABLE = 0.3 * RNG.standard_normal((5, 4))


def encoder(**settings):
    return nn.TransformerEncoder.random(1, layers=2, **{**SIZES, **settings})


def decoder(**settings):
    return nn.TransformerDecoder.random(2, layers=2, **{**SIZES, **settings})


def attention(**settings):
    arrays = {
        "in_proj_weight": RNG.standard_normal((16, 8)), "in_proj_bias": RNG.standard_normal(16),
        "out_proj.weight": RNG.standard_normal((8, 8)), "out_proj.bias": RNG.standard_normal(8),
        "sinks": RNG.standard_normal(4),
    }  # fmt: skip
    return nn.MultiHeadAttention.from_state_dict(arrays, num_heads=4, **settings)


ALIBI = {"alibi_slopes": np.array([0.5, 0.25, 0.125, 0.1])}
CASES = {
    "linear": (nn.Linear(RNG.standard_normal((5, 8)), RNG.standard_normal(5)), (X,), {}),
    "layer norm": (nn.LayerNorm(RNG.standard_normal(8), RNG.standard_normal(8)), (X,), {}),
    "rms norm": (nn.RMSNorm(RNG.standard_normal(8), 1e-5), (X,), {}),
    "dropout": (nn.Dropout(0.3), (X,), {"seed": 4}),
    **{f"activation {name}": (f, (X,), {}) for name, f in nn.ACTIVATIONS.items()},
    "feed forward": (encoder().layers[0].feed_forward, (X,), {}),
    "gated": (encoder(gated=True).layers[0].feed_forward, (X,), {}),
    "grouped heads, rope, sinks": (attention(rope=Rope()), (X,), {"causal": True}),
    "relative bias": (attention(position_bias=Relative(TABLE)), (X,), {"key_lengths": [4, 2]}),
    "ALiBi, window": (attention(options=ALIBI), (X,), {"window": 1}),
    "cross": (attention(), (X, MEMORY), {"mask": RNG.random((4, 3)) < 0.7}),
    "packed, rope": (attention(rope=Rope()), (ROWS,), {"offsets": OFFSETS, "causal": True}),
    "encoder": (encoder(dropout=0.2), (X,), {"seed": 3, "causal": True}),
    "encoder, rms, gated": (
        encoder(norm="rms", norm_first=True, gated=True, kv_heads=2), (X,), {}
    ),
    "encoder, packed": (encoder(), (ROWS,), {"offsets": OFFSETS}),
    "decoder": (decoder(norm_first=True), (X, MEMORY), {"memory_key_lengths": [3, 1]}),
    "decoder, packed": (
        decoder(), (ROWS, REMEMBERED),
        {"offsets": OFFSETS, "memory_offsets": OF_MEMORY, "causal": True},
    ),
    "transformer": (
        nn.Transformer.random(3, layers=1, **SIZES), (MEMORY, X), {"src_key_lengths": [3, 2]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_slopes(name):
    """Along a random direction of everything at once, and of each parameter alone."""
    layer, inputs, options = CASES[name]
    rng = np.random.default_rng(0)
    out, back = layer.vjp(*inputs, **options)
    np.testing.assert_array_equal(layer(*inputs, **options), out)
    dout = rng.standard_normal(out.shape)
    grads = back(dout)
    by_input = [grads.x, grads.memory]
    if isinstance(layer, nn.Transformer):
        by_input = by_input[::-1]
    state = layer.state_dict()
    assert list(grads.parameters) == list(state) or set(grads.parameters) == set(state)
    moves = {n: rng.standard_normal(x.shape) for n, x in state.items()}
    places = [rng.standard_normal(x.shape) for x in inputs]

    def loss(step, which):
        there = {n: x + step * moves[n] * (which in (n, "all")) for n, x in state.items()}
        layer.load_state_dict(there)
        at = [
            x + step * d * (which in (i, "all"))
            for i, (x, d) in enumerate(zip(inputs, places, strict=True))
        ]
        return float((layer(*at, **options) * dout).sum())

    try:
        for which in (*range(len(inputs)), *state, "all"):
            slope = (loss(1e-5, which) - loss(-1e-5, which)) / 2e-5
            wanted = 0.0
            for i, d in enumerate(places):
                wanted += float((by_input[i] * d).sum()) * (which in (i, "all"))
            for n, d in moves.items():
                wanted += float((grads.parameters[n] * d).sum()) * (which in (n, "all"))
            assert abs(slope - wanted) < 1e-6 * max(1.0, abs(wanted)), which
    finally:
        layer.load_state_dict(state)


@pytest.mark.parametrize("name", CASES)
def test_the_way_back_is_linear(name):
    layer, inputs, options = CASES[name]
    out, back = layer.vjp(*inputs, **options)
    one, two = np.random.default_rng(1).standard_normal((2, *out.shape))
    sums = back(2.0 * one - two)
    first, second = back(one), back(two)
    np.testing.assert_allclose(sums.x, 2 * first.x - second.x, atol=1e-10)
    for n, x in sums.parameters.items():
        np.testing.assert_allclose(x, 2 * first.parameters[n] - second.parameters[n], atol=1e-9)


def test_gradients_by_options_of_a_call():
    layer = encoder()
    bias = RNG.standard_normal((4, 4, 4))
    out, back = layer.vjp(X, bias=bias)
    move, dout = RNG.standard_normal(bias.shape), RNG.standard_normal(out.shape)
    found = back(dout, wrt=["bias"]).options["bias"]
    ahead, behind = (layer(X, bias=bias + s * 1e-5 * move) for s in (1, -1))
    slope = float(((ahead - behind) / 2e-5 * dout).sum())
    assert abs(slope - float((found * move).sum())) < 1e-6 * max(1.0, abs(slope))
