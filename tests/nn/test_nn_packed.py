"""Packed rows against texts one by one; batch-invariant products; caches; files; errors."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from regard import nn
from regard.positions import Rope

SIZES = {"features": 64, "num_heads": 4, "hidden": 96}
LENGTHS = (3, 40, 1, 17, 33, 5)


def texts(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, 64), np.float32) for n in lengths]


def test_packing_goes_back():
    given = texts((3, 0, 2))
    rows, offsets = nn.pack(given)
    for piece, text in zip(nn.unpack(rows, offsets), given, strict=True):
        np.testing.assert_array_equal(piece, text)


@pytest.mark.parametrize("rope", [None, Rope()])
def test_batch_invariant_rows_have_the_same_bits_in_any_company(rope):
    plain = nn.TransformerEncoder.random(0, layers=2, rope=rope, activation="gelu", **SIZES)
    layer = nn.batch_invariant(plain)
    given = texts()
    alone = [layer.vjp(text, causal=True) for text in given]
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1], [2, 2, 4, 0]):
        rows, offsets = nn.pack([given[n] for n in order])
        out, back = layer.vjp(rows, offsets=offsets, causal=True)
        dx = nn.unpack(back(out).x, offsets)
        for place, n in enumerate(order):
            found = nn.unpack(out, offsets)[place]
            np.testing.assert_array_equal(found, alone[n][0])
            np.testing.assert_array_equal(dx[place], alone[n][1](alone[n][0]).x)
    rows, offsets = nn.pack(given)
    np.testing.assert_allclose(
        plain(rows, offsets=offsets), layer(rows, offsets=offsets), atol=1e-4
    )


@pytest.mark.parametrize("outputs", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_invariant_products(outputs, dtype):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((70, 100)).astype(dtype)
    layer = nn.batch_invariant(nn.Linear(rng.standard_normal((outputs, 100)).astype(dtype)))
    whole = layer(rows)
    np.testing.assert_allclose(whole, rows @ layer.weight.T, rtol=1e-4, atol=1e-4)
    for first, count in ((0, 1), (3, 1), (1, 16), (5, 33), (69, 1), (0, 0)):
        np.testing.assert_array_equal(
            layer(rows[first : first + count]), whole[first : first + count]
        )


def test_generation_with_caches_is_the_whole_text():
    model = nn.TransformerEncoder.random(0, layers=2, rope=Rope(), norm_first=True, **SIZES)
    x = np.stack(texts((9, 9)))
    whole = model(x, causal=True)
    caches = [regard.KVCache(2, 4, 16, 9, "float32") for _ in model.layers]
    steps = [model(x[:, a:b], caches=caches) for a, b in ((0, 4), (4, 5), (5, 9))]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, atol=1e-5)


def test_paged_caches_take_packed_rows():
    model = nn.TransformerEncoder.random(0, layers=1, rope=Rope(), **SIZES)
    cache = regard.PagedKVCache(16, 4, 4, 16, "float32")
    sequences = [cache.allocate(), cache.allocate()]
    given = texts((7, 4))
    rows, offsets = nn.pack(given)
    found = nn.unpack(model(rows, offsets=offsets, caches=[cache], sequences=sequences), offsets)
    for text, out in zip(given, found, strict=True):
        np.testing.assert_allclose(out, model(text, causal=True), atol=1e-5)


def test_a_memory_is_kept_in_caches():
    model = nn.TransformerDecoder.random(0, layers=2, **SIZES)
    x, memory = texts((6, 8))
    whole = model(x, memory, causal=True)
    caches = [regard.KVCache(1, 4, 16, 8, "float32") for _ in range(4)]
    steps = [model(x[:1], memory, caches=caches[:2], memory_caches=caches[2:])]
    steps += [model(x[n : n + 1], caches=caches[:2], memory_caches=caches[2:]) for n in range(1, 6)]
    np.testing.assert_allclose(np.concatenate(steps), whole, atol=1e-5)


def test_files(tmp_path):
    pytest.importorskip("safetensors")
    model = nn.Transformer.random(0, layers=1, **SIZES)
    nn.save_safetensors(model.state_dict(), tmp_path / "model.safetensors")
    arrays = nn.load_safetensors(tmp_path / "model.safetensors")
    other = nn.Transformer.from_state_dict(arrays, num_heads=4)
    x, memory = texts((6, 8))
    np.testing.assert_array_equal(model(memory, x), other(memory, x))


def test_weights_are_those_of_attention():
    layer = nn.TransformerEncoder.random(0, layers=1, rope=Rope(), **SIZES).layers[0].self_attn
    x = np.stack(texts((5, 5)))
    weights = layer.weights(x, causal=True)
    value = layer.project(x)[2].swapaxes(1, 2)
    mixed = (weights @ value).swapaxes(1, 2).reshape(x.shape)
    np.testing.assert_allclose(layer.out_proj(mixed), layer(x, causal=True), atol=1e-5)


def test_errors_say_what_to_do():
    layer = nn.TransformerEncoder.random(0, layers=1, **SIZES)
    x = texts((5,))[0]
    with pytest.raises(TypeError, match="dtype float64"):
        layer(x.astype(np.float64))
    with pytest.raises(ValueError, match="features"):
        layer(x[:, :63])
    with pytest.raises(ValueError, match="offsets"):
        layer(x, offsets=[0, 3])
    with pytest.raises(TypeError, match="no option return_lse"):
        layer(x, return_lse=True)
    with pytest.raises(ValueError, match=r"1 layers"):
        layer(x, caches=[])
    arrays = layer.state_dict()
    with pytest.raises(ValueError, match="unknown other"):
        nn.TransformerEncoder.from_state_dict({**arrays, "other": x}, num_heads=4)
    with pytest.raises(ValueError, match="num_heads is 5"):
        nn.TransformerEncoder.from_state_dict(arrays, num_heads=5)
    with pytest.raises(TypeError, match="no setting heads"):
        nn.TransformerEncoder.from_state_dict(arrays, num_heads=4, heads=3)
    del arrays["layers.0.linear1.weight"]
    with pytest.raises(ValueError, match=r"no weight|no layers\.0\.linear1"):
        nn.TransformerEncoder.from_state_dict(arrays, num_heads=4)
    with pytest.raises(ValueError, match="tokens"):
        nn.Embedding(x)([5])
