"""Compiled and exported graphs: whole, with the values and gradients of eager mode."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import pytest

import regard
from torch_tensors import detached, tensors

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

# Of PyTorch's own making, and different from version to version.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

QKV = (2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3)
LENGTHS = np.array([7, 3])
T5 = regard.bias.T5(np.random.default_rng(0).random((8, 4)), bidirectional=False, max_distance=16)
TILES = regard.BlockMask.from_dense(np.tri(5, 7, 2, dtype=bool), block_size=16)
BITS = regard.PackedMask.from_dense(np.tri(5, 7, 2, dtype=bool))

# Shapes, or tensors, after query, key and value; what is made of all.
CALLS: dict[str, tuple[list[Any], Any]] = {
    "causal": ([], lambda q, k, v: adapter.attention(q * 2, k, v, causal=True) + 1),
    "numbers": (
        [(2, 1, 5, 7), (4,), (4,), (4, 5)],
        lambda q, k, v, b, s, a, t: adapter.attention(
            q, k, v, bias=b, sinks=s, alibi_slopes=a, query_scale=t, window=(3, None), softcap=5.0
        ),
    ),
    "mask": (
        [torch.arange(70).reshape(2, 1, 5, 7) % 3 > 0],
        lambda q, k, v, m: adapter.attention(q, k, v, mask=m),
    ),
    "lengths": (
        [torch.tensor([7, 3])],
        lambda q, k, v, n: adapter.attention(
            q, k, v, key_lengths=n, query_lengths=[5, 4], causal=True
        ),
    ),
    "array": ([], lambda q, k, v: adapter.attention(q, k, v, key_lengths=LENGTHS)),
    "lists": (
        [],
        lambda q, k, v: adapter.attention(
            q, k, v, scale=[1.0, 2.0, 0.5, 0.1], sinks=[0.0, float("-inf"), 1.0, 2.0],
            similarity="cosine",
        ),
    ),
    "dropout": (
        [torch.tensor(5)],
        lambda q, k, v, s: adapter.attention(q, k, v, dropout=0.3, seed=s),
    ),
    "position bias": ([], lambda q, k, v: adapter.attention(q, k, v, position_bias=T5)),
    "table": (
        [(8, 4)],
        lambda q, k, v, t: adapter.attention(q, k, v, position_bias=T5, position_table=t),
    ),
    "tiles": ([], lambda q, k, v: adapter.attention(q, k, v, mask=TILES)),
    "bits": ([], lambda q, k, v: adapter.attention(q, k, v, mask=BITS)),
    "lse": (
        [],
        lambda q, k, v: sum(x.sum() for x in adapter.attention(q, k, v, return_lse=True)),
    ),
    "strides": (
        [],
        lambda q, k, v: adapter.attention(
            *(x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
        ).transpose(1, 2).reshape(2, 5, -1),
    ),
}  # fmt: skip


def compiled(function: Any, backend: str = "aot_eager", **options: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend, **options)


def check(function: Any, arguments: list[Any], backend: str = "aot_eager") -> None:
    """Compare with eager mode, bit for bit."""
    with torch.no_grad():
        assert torch.equal(compiled(function, backend)(*arguments), function(*arguments))
    moving = [x for x in arguments if x.is_floating_point()]
    got, want = compiled(function, backend)(*arguments), function(*arguments)
    assert torch.equal(got, want)
    assert got.stride() == want.stride()
    gradients = (torch.autograd.grad(x.square().sum(), moving) for x in (got, want))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CALLS)
def test_whole_graphs(name: str) -> None:
    others, function = CALLS[name]
    made = iter(tensors(*QKV, *(x for x in others if isinstance(x, tuple))))
    arguments = [next(made) for _ in QKV]
    check(function, [*arguments, *(next(made) if isinstance(x, tuple) else x for x in others)])


def test_vmap_in_a_graph() -> None:
    arguments = tensors(*QKV)
    check(lambda *x: torch.func.vmap(lambda *y: adapter.attention(*y, causal=True))(*x), arguments)


def test_packed_pieces() -> None:
    (x,), starts = tensors((10, 4, 6)), torch.tensor([0, 3, 10])
    check(lambda x, s: adapter.varlen_attention(x, x, x, s, s, causal=True) * 2, [x, starts])


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_inductor(dtype: str) -> None:
    arguments = tensors(*QKV, dtype=getattr(torch, dtype))
    check(CALLS["strides"][1], arguments, "inductor")


def test_one_graph_for_all_lengths() -> None:
    """A number that grows, as the offset of a cache does, must not be part of the graph."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    def function(q: Any, k: Any, v: Any) -> Any:
        return adapter.attention(q, k, v, causal=True, query_offset=k.shape[1] - q.shape[1] - 1)

    torch._dynamo.reset()
    graph = torch.compile(function, fullgraph=True, dynamic=True, backend=backend)
    for keys in (7, 9, 30):
        arguments = detached((4, 5, 6), (2, keys, 6), (2, keys, 3))
        assert torch.equal(graph(*arguments), function(*arguments))
    assert len(graphs) == 1


def test_autocast() -> None:
    query, key, value, bias = tensors(*QKV, (5, 7), dtype=torch.float32)

    def function(*x: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return adapter.attention(*x[:3], bias=x[3])

    out = function(query, key, value, bias)
    assert out.dtype == torch.bfloat16
    narrow = [x.bfloat16() for x in (query, key, value, bias)]
    assert torch.equal(out, adapter.attention(*narrow[:3], bias=narrow[3]))
    check(function, [query, key, value, bias])
    wide = [x.double() for x in (query, key, value)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert adapter.attention(*wide).dtype == torch.float64  # as PyTorch's own


class Block(torch.nn.Module):  # type: ignore[misc]
    """A layer of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = torch.nn.Linear(16, 48)
        self.slopes = torch.nn.Parameter(torch.tensor([0.5, 0.25]))

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind()
        out = adapter.attention(q, k, v, causal=True, alibi_slopes=self.slopes)
        return out.transpose(1, 2).flatten(2)


def test_a_model_trains_in_a_graph() -> None:
    torch.manual_seed(0)
    block = Block()
    x = torch.randn(3, 6, 16)
    graph = compiled(block)
    for model in (block, graph):
        block.zero_grad()
        model(x).square().sum().backward()
        gradients = [p.grad.clone() for p in block.parameters()]
        if model is block:
            want = gradients
    for a, b in zip(gradients, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict: bool) -> None:
    torch.manual_seed(0)
    block, x = Block().eval(), torch.randn(3, 6, 16)
    length = torch.export.Dim("length", min=2, max=100)
    program = torch.export.export(block, (x,), dynamic_shapes=({1: length},), strict=strict)
    assert "torch.ops.regard.attention" in program.graph_module.code
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    loaded = torch.export.load(stored).module()
    for length in (6, 11):
        x = torch.randn(3, length, 16)
        torch.testing.assert_close(loaded(x), block(x))


def test_a_trace_is_no_constant() -> None:
    block = Block().eval()
    traced = torch.jit.trace(block, torch.randn(3, 6, 16), check_trace=False)
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(traced(x), block(x))


def test_fake_tensors_have_the_shapes() -> None:
    fake = torch._subclasses.fake_tensor.FakeTensorMode
    with fake():
        out, lse = adapter.attention(*(torch.empty(x) for x in QKV), return_lse=True)
    assert out.shape == (2, 4, 5, 3)
    assert lse.shape == (2, 4, 5)


def test_no_forward_mode_in_graphs() -> None:
    arguments = detached(*QKV)

    def function(q: Any, k: Any, v: Any) -> Any:
        return torch.func.jvp(lambda q: adapter.attention(q, k, v), (q,), (q,))

    with pytest.raises(Exception, match="no forward mode inside of compiled graphs"):
        compiled(function)(*arguments)
