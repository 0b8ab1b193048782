"""Whole models: a transformer that PyTorch exported, and text generated with a cache."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from onnx_nodes import ours, theirs

WORDS, WIDTH, HEADS, LENGTH = 50, 32, 4, 11


def transformer(torch):
    functional = torch.nn.functional

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.between = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
            self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
            self.up, self.down = torch.nn.Linear(WIDTH, 64), torch.nn.Linear(64, WIDTH)

        def forward(self, x, seen):
            batch, length, _ = x.shape
            split = self.qkv(self.before(x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
            q, k, v = split.permute(2, 0, 3, 1, 4)
            a = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            x = x + self.out(a.transpose(1, 2).reshape(batch, length, WIDTH))
            return x + self.down(functional.gelu(self.up(self.between(x))))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(WORDS, WIDTH)
            self.places = torch.nn.Embedding(20, WIDTH)
            self.blocks = torch.nn.ModuleList([Block() for _ in range(2)])
            self.head = torch.nn.Linear(WIDTH, WORDS)

        def forward(self, tokens, there):
            length = tokens.shape[1]
            x = self.words(tokens) + self.places(torch.arange(length))
            seen = torch.ones(length, length, dtype=torch.bool).tril() & there[:, None, None]
            for block in self.blocks:
                x = block(x, seen)
            return self.head(x)

    torch.manual_seed(0)
    return Model().eval()


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter
def test_a_transformer_that_pytorch_exported():
    """Opset 23 has PyTorch's scaled_dot_product_attention as the operator Attention."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    module = transformer(torch)
    tokens = torch.randint(WORDS, (2, LENGTH))
    there = torch.ones(2, LENGTH, dtype=torch.bool)
    there[1, 7:] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (tokens, there), opset_version=23, verbose=False)
    model = program.model_proto
    assert sum(n.op_type == "Attention" for n in model.graph.node) == 2
    names = [i.name for i in model.graph.input]
    inputs = dict(zip(names, (tokens.numpy(), there.numpy()), strict=True))
    (got,) = ours(model, inputs)
    np.testing.assert_allclose(got, theirs(model, inputs)[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(got, module(tokens, there).detach().numpy(), rtol=0, atol=2e-6)


# A layer of a decoder, as the tools for generation write it.
DECODER = """
    <ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
    decoder (float[B, S, 32] x, float[B, 2, P, 16] past_key, float[B, 2, P, 16] past_value,
             int32[B] lengths, int32 total, float[20, 8] cos, float[20, 8] sin,
             float[32, 128] qkv, float[64, 32] out)
    => (float[B, S, 32] y, float[B, 2, T, 16] key, float[B, 2, T, 16] value)
    {
        packed = MatMul (x, qkv)
        a, key, value = com.microsoft.GroupQueryAttention
            <num_heads = 4, kv_num_heads = 2, do_rotary = 1, local_window_size = 6>
            (packed, , , past_key, past_value, lengths, total, cos, sin)
        b = MatMul (a, out)
        y = Add (x, b)
    }
"""


def test_generation_with_a_cache(rng):
    """Each step is given what the step before returned: a prompt, then one token after another."""
    model = onnx.parser.parse_model(DECODER)
    angles = np.outer(np.arange(20), 10000.0 ** (-np.arange(8) / 8)).astype(np.float32)

    def floats(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    inputs = {"cos": np.cos(angles), "sin": np.sin(angles), "qkv": floats(32, 128) / 6,
              "out": floats(64, 32) / 8}  # fmt: skip
    caches = [[np.zeros((1, 2, 0, 16), np.float32)] * 2] * 2
    x, total = floats(1, 5, 32), 5
    for _ in range(6):
        inputs |= {"x": x, "lengths": np.array([total - 1], np.int32),
                   "total": np.array(total, np.int32)}  # fmt: skip
        steps = [
            run(model, inputs | {"past_key": key, "past_value": value})
            for run, (key, value) in zip((ours, theirs), caches, strict=True)
        ]
        for one, other in zip(*steps, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)
        caches = [step[1:] for step in steps]
        x, total = steps[1][0][:, -1:], total + 1
    assert caches[0][0].shape == (1, 2, 10, 16)
