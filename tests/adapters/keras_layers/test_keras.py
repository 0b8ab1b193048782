"""Our layers against the stock ones, on the backend of ``KERAS_BACKEND``, or an installed one.

KERAS_BACKEND=tensorflow pytest tests/adapters/keras_layers    # and torch, jax, numpy
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from page_blocks import run_blocks
from paths import ROOT

if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed", allow_module_level=True)
INSTALLED = [name for name in ("jax", "torch", "tensorflow") if importlib.util.find_spec(name)]
os.environ.setdefault("KERAS_BACKEND", (INSTALLED or ["numpy"])[0])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of other packages while they are imported
    import keras

    import regard.keras as ours

layers: Any = keras.layers
# What Keras and its backends warn of in themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

LEARNS = keras.backend.backend() != "numpy"
HAS = inspect.signature(layers.MultiHeadAttention.__init__).parameters
PAIRS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "multi-head": (
        ours.MultiHeadAttention, layers.MultiHeadAttention, {"num_heads": 4, "key_dim": 6},
    ),
    "grouped": (
        ours.GroupedQueryAttention, layers.GroupQueryAttention,
        {"head_dim": 6, "num_query_heads": 4, "num_key_value_heads": 2},
    ),
}  # fmt: skip
QUERIES, KEYS = 7, 9


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def numpy(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def pair(kind: str, *shapes: Any, **more: Any) -> tuple[Any, Any]:
    """Our layer and the stock one, with the same weights."""
    mine, stock, arguments = PAIRS[kind]
    found = mine(**arguments, **more), stock(**arguments, **more)
    for layer in found:
        layer.build(*(shapes or ((2, QUERIES, 16), (2, KEYS, 16))))
    found[0].set_weights([x + 0.01 * i for i, x in enumerate(found[1].get_weights())])
    found[1].set_weights(found[0].get_weights())
    assert [w.path.split("/")[1:] for w in found[0].weights] == [
        w.path.split("/")[1:] for w in found[1].weights
    ]
    return found


MASK = np.random.default_rng(3).random((2, QUERIES, KEYS)) < 0.5
MASK[1, 2] = False  # a query that sees nothing
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"use_causal_mask": True},
    "mask": {"attention_mask": MASK},
    "mask for all": {"attention_mask": MASK[0]},
    "numbers": {"attention_mask": MASK.astype(np.int32)},
    "mask, causal": {"attention_mask": MASK, "use_causal_mask": True},
    "masks of tokens": {
        "query_mask": np.arange(QUERIES) < np.array([[7], [3]]),
        "value_mask": np.arange(KEYS) < np.array([[5], [9]]),
        "use_causal_mask": True,
    },
    "mask of keys": {"key_mask": np.arange(KEYS) >= np.array([[0], [2]])},
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("window", [None, 3])
def test_outputs_and_scores(kind: str, call: dict[str, Any], window: int | None) -> None:
    if window is not None and "sliding_window" not in HAS:
        pytest.skip("the installed Keras has no sliding_window")
    mine, stock = pair(kind, **({} if window is None else {"sliding_window": window}))
    query, value = array(2, QUERIES, 16), array(2, KEYS, 16, seed=1)
    want, scores = stock(query, value, return_attention_scores=True, **call)
    got = mine(query, value, **call)
    np.testing.assert_allclose(numpy(got), numpy(stock(query, value, **call)), atol=2e-6)
    got, found = mine(query, value, return_attention_scores=True, **call)
    np.testing.assert_array_equal(numpy(found), numpy(scores))
    np.testing.assert_array_equal(numpy(got), numpy(want))


def test_other_arguments() -> None:
    more = {"value_dim": 5, "use_bias": False, "output_shape": 11}
    if "use_gate" in HAS:
        more["use_gate"] = True
    query, value, key = array(2, 7, 16), array(2, 9, 12, seed=1), array(2, 9, 10, seed=2)
    mine, stock = pair("multi-head", query.shape, value.shape, key.shape, **more)
    # The stock layer has no kernel for another value_dim on every backend; with scores it has.
    want, _ = stock(query, value, key, return_attention_scores=True)
    np.testing.assert_allclose(numpy(mine(query, value, key)), numpy(want), atol=2e-6)


@pytest.mark.parametrize("axes", [None, (1,), (2,), (1, 2), (-2,)], ids=str)
def test_axes(axes: Any) -> None:
    x = array(2, 3, 4, 16)
    mine, stock = pair("multi-head", x.shape, x.shape, attention_axes=axes)
    np.testing.assert_allclose(numpy(mine(x, x)), numpy(stock(x, x)), atol=2e-6)
    sizes = {None: (3, 4, 3, 4), (1, 2): (3, 4, 3, 4), (1,): (4, 4, 3, 3)}.get(axes, (3, 4, 4))
    if axes == (1,):
        return  # the stock layer has no mask that fits these
    mask = np.random.default_rng(0).random((2, *sizes)) < 0.8
    mask[..., 0] = True
    if axes in ((2,), (-2,)):
        mask = mask[:, :, None]  # of heads
    want = stock(x, x, attention_mask=mask)
    np.testing.assert_allclose(numpy(mine(x, x, attention_mask=mask)), numpy(want), atol=2e-6)


@pytest.mark.parametrize("kind", PAIRS)
def test_mixed_precision(kind: str) -> None:
    mine, stock = pair(kind, dtype="mixed_bfloat16")
    query, value = array(2, QUERIES, 16), array(2, KEYS, 16, seed=1)
    got, want = (layer(query, value, use_causal_mask=True) for layer in (mine, stock))
    assert keras.backend.standardize_dtype(got.dtype) == "bfloat16"
    got, want = (numpy(keras.ops.cast(x, "float32")) for x in (got, want))
    np.testing.assert_allclose(got, want, atol=0.02 * np.abs(want).max())


@pytest.mark.parametrize("kind", PAIRS)
def test_dropout(kind: str) -> None:
    mine, stock = pair(kind, dropout=0.5, seed=1)
    again, _ = pair(kind, dropout=0.5, seed=1)
    again.set_weights(mine.get_weights())
    x = array(2, QUERIES, 16), array(2, KEYS, 16, seed=1)
    np.testing.assert_allclose(numpy(mine(*x)), numpy(stock(*x)), atol=2e-6)
    first, second = (numpy(mine(*x, training=True)) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(numpy(again(*x, training=True)), first)
    many = np.mean([numpy(mine(*x, training=True)) for _ in range(200)], axis=0)
    np.testing.assert_allclose(many, numpy(mine(*x)), atol=0.3 * first.std())


def model(mine: bool, kind: str = "multi-head") -> Any:
    """Two blocks over tokens, of which 0 is padding."""
    layer_type, stock, arguments = PAIRS[kind]
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(11, 16, mask_zero=True)(tokens)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + (layer_type if mine else stock)(**arguments)(y, y, use_causal_mask=True)
    return keras.Model(tokens, layers.Dense(11)(x))


def texts(padded: bool = True) -> np.ndarray:
    steps = np.array([[1], [2], [3], [5]])
    tokens = (np.arange(13) * steps % 10 + 1).astype(np.int32)
    if padded:
        tokens[0, 9:] = 0
    return tokens


@pytest.mark.skipif(not LEARNS, reason="Keras has no gradients on NumPy")
@pytest.mark.parametrize("kind", PAIRS)
def test_training_takes_the_same_way(kind: str) -> None:
    # Keras hides all keys of padding, for which PyTorch's kernel on the CPU has gradients that are
    # as many times too large as there are keys.
    tokens = texts(padded=keras.backend.backend() != "torch")
    models, losses = [model(mine, kind) for mine in (True, False)], []
    models[0].set_weights(models[1].get_weights())
    for each in models:
        each.compile(
            keras.optimizers.Adam(1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        history = each.fit(
            tokens[:, :-1], tokens[:, 1:], epochs=15, batch_size=2, shuffle=False, verbose=0
        )
        losses.append(history.history["loss"])
    assert losses[1][-1] < 0.5 * losses[1][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3)
    got, want = (each.predict(tokens[:, :-1], verbose=0) for each in models)
    np.testing.assert_allclose(got, want, atol=0.1)


@pytest.mark.skipif(not LEARNS, reason="Keras has no gradients on NumPy")
def test_training_with_dropout() -> None:
    x = array(8, 5, 16)
    mine, _ = pair("grouped", x.shape, x.shape, dropout=0.3)
    inputs = keras.Input((5, 16))
    each = keras.Model(inputs, layers.Dense(1)(mine(inputs, inputs)))
    each.compile(keras.optimizers.Adam(1e-2), "mse")
    history = each.fit(x, x[..., :1], epochs=12, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize("kind", PAIRS)
def test_files(kind: str, tmp_path: Path) -> None:
    tokens, before = texts()[:, :-1], model(True, kind)
    before.save(tmp_path / "model.keras")
    after = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(after.layers[3], PAIRS[kind][0])
    np.testing.assert_array_equal(
        after.predict(tokens, verbose=0), before.predict(tokens, verbose=0)
    )
    stock = model(False, kind)
    stock.save_weights(tmp_path / "stock.weights.h5")
    before.load_weights(tmp_path / "stock.weights.h5")
    np.testing.assert_allclose(
        before.predict(tokens, verbose=0), stock.predict(tokens, verbose=0), atol=1e-5
    )


def test_a_model_that_is_there() -> None:
    """As in the guide."""
    stock, tokens = model(False), texts()[:, :-1]

    def replaced(layer: Any) -> Any:
        if type(layer) is layers.MultiHeadAttention:
            return ours.MultiHeadAttention.from_config(layer.get_config())
        return layer.__class__.from_config(layer.get_config())

    mine = keras.models.clone_model(stock, clone_function=replaced)
    mine.set_weights(stock.get_weights())
    assert sum(isinstance(layer, ours.MultiHeadAttention) for layer in mine.layers) == 2
    np.testing.assert_allclose(
        mine.predict(tokens, verbose=0), stock.predict(tokens, verbose=0), atol=1e-5
    )


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = array(1, 4, 16)
    layer = ours.MultiHeadAttention(2, 8, flash_attention=True)
    assert layer(x, x).shape == (1, 4, 16)
    with pytest.raises(ValueError, match="flash"):
        layer(x, x, return_attention_scores=True)
    with pytest.raises(ValueError, match="Dropout is not supported"):
        ours.MultiHeadAttention(2, 8, flash_attention=True, dropout=0.1)
    from regard.keras import _attend

    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(NotImplementedError, match="Keras runs on openvino"):
        _attend.backend_attention()


def test_what_the_guide_shows() -> None:
    assert run_blocks(ROOT / "docs" / "guide" / "keras.md") > 1
