"""all-MiniLM-L6-v2 by three engines that share no code with the example that is tested.

Each takes the folder of the weights and the token numbers of some sentences, and returns their
embeddings (sentences, 384).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
Tokens = list[list[int]]

HEADS, LAYERS, CHANNELS, EPSILON = 12, 6, 384, 1e-12


def numpy_embeddings(folder: Path, tokens: Tokens) -> Array:
    """Float64, one sentence at a time: no batch, no padding, every score in memory."""
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    weights = {name: weight.astype(np.float64) for name, weight in weights.items()}
    return np.stack([numpy_embedding(weights, sentence) for sentence in tokens])


def numpy_embedding(weights: dict[str, Array], tokens: list[int]) -> Array:
    """One sentence."""

    def dense(x: Array, name: str) -> Array:
        y: Array = x @ weights[name + ".weight"].T + weights[name + ".bias"]
        return y

    def norm(x: Array, name: str) -> Array:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + EPSILON)
        y: Array = x * weights[name + ".weight"] + weights[name + ".bias"]
        return y

    def heads(x: Array) -> Array:
        y: Array = x.reshape(len(tokens), HEADS, -1).transpose(1, 0, 2)
        return y

    erf = np.vectorize(math.erf)
    x = weights["embeddings.word_embeddings.weight"][tokens]
    x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(LAYERS):
        name = f"encoder.layer.{i}."
        q, k, v = (heads(dense(x, f"{name}attention.self.{n}")) for n in ("query", "key", "value"))
        p = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(CHANNELS // HEADS))
        o = (p / p.sum(axis=-1, keepdims=True)) @ v
        o = o.transpose(1, 0, 2).reshape(len(tokens), CHANNELS)
        x = norm(x + dense(o, name + "attention.output.dense"), name + "attention.output.LayerNorm")
        h = dense(x, name + "intermediate.dense")
        h = dense(0.5 * h * (1 + erf(h / math.sqrt(2))), name + "output.dense")
        x = norm(x + h, name + "output.LayerNorm")
    mean: Array = x.mean(axis=0)
    return mean / math.sqrt(mean @ mean)


def pad(tokens: Tokens) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    longest = max(map(len, tokens))
    padded = np.array([sentence + [0] * (longest - len(sentence)) for sentence in tokens])
    real = np.array([[i < len(sentence) for i in range(longest)] for sentence in tokens])
    return padded, real


def torch_embeddings(folder: Path, tokens: Tokens) -> Array:
    """All sentences in one padded batch of PyTorch."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    functional = torch.nn.functional
    weights = load_file(folder / "model.safetensors")
    padded, real = map(torch.from_numpy, pad(tokens))

    def dense(x: Any, name: str) -> Any:
        return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(x: Any, name: str) -> Any:
        parameters = weights[name + ".weight"], weights[name + ".bias"]
        return functional.layer_norm(x, (CHANNELS,), *parameters, eps=EPSILON)

    x = functional.embedding(padded, weights["embeddings.word_embeddings.weight"])
    x = x + weights["embeddings.position_embeddings.weight"][: padded.shape[1]]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(LAYERS):
        name = f"encoder.layer.{i}."
        q, k, v = (
            dense(x, f"{name}attention.self.{n}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for n in ("query", "key", "value")
        )
        o = functional.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None, :])
        o = dense(o.transpose(1, 2).flatten(2), name + "attention.output.dense")
        x = norm(x + o, name + "attention.output.LayerNorm")
        h = functional.gelu(dense(x, name + "intermediate.dense"))
        x = norm(x + dense(h, name + "output.dense"), name + "output.LayerNorm")
    real = real[:, :, None]
    mean = (x * real).sum(dim=1) / real.sum(dim=1)
    return np.asarray(functional.normalize(mean))


def onnxruntime_embeddings(folder: Path, tokens: Tokens) -> Array:
    """All sentences in one padded batch of ONNX Runtime, attention as ONNX's own operator."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from safetensors.numpy import load_file

    weights = load_file(folder / "model.safetensors")
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Array) -> str:
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(kind, inputs, [f"x{len(nodes)}"], **attributes))
        return f"x{len(nodes) - 1}"

    def dense(x: str, name: str) -> str:
        product = op("MatMul", x, constant(name + ".weight", weights[name + ".weight"].T))
        return op("Add", product, constant(name + ".bias", weights[name + ".bias"]))

    def norm(x: str, name: str) -> str:
        parameters = [constant(name + end, weights[name + end]) for end in (".weight", ".bias")]
        return op("LayerNormalization", x, *parameters, epsilon=EPSILON)

    padded, real = pad(tokens)
    length = padded.shape[1]
    words = weights["embeddings.word_embeddings.weight"]
    places = weights["embeddings.position_embeddings.weight"][:length]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    x = op("Gather", constant("words", words), "tokens")
    x = norm(op("Add", x, constant("places", places)), "embeddings.LayerNorm")
    for i in range(LAYERS):
        name = f"encoder.layer.{i}."
        qkv = [dense(x, f"{name}attention.self.{n}") for n in ("query", "key", "value")]
        o = op("Attention", *qkv, "real", q_num_heads=HEADS, kv_num_heads=HEADS)
        o = op("Add", x, dense(o, name + "attention.output.dense"))
        x = norm(o, name + "attention.output.LayerNorm")
        h = op("Gelu", dense(x, name + "intermediate.dense"))
        x = norm(op("Add", x, dense(h, name + "output.dense")), name + "output.LayerNorm")

    info = onnx.helper.make_tensor_value_info
    inputs = [info("tokens", onnx.TensorProto.INT64, padded.shape)]
    inputs += [info("real", onnx.TensorProto.BOOL, (len(tokens), 1, length, length))]
    outputs = [info(x, onnx.TensorProto.FLOAT, (*padded.shape, CHANNELS))]
    graph = onnx.helper.make_graph(nodes, "minilm", inputs, outputs, constants)
    opset = [onnx.helper.make_opsetid("", 23)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    square = np.broadcast_to(real[:, None, None], (len(tokens), 1, length, length))
    (hidden,) = session.run(None, {"tokens": padded, "real": square})
    mean = (hidden * real[:, :, None]).sum(axis=1) / real.sum(axis=1, keepdims=True)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))
