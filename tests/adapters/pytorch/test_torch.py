"""Attention on PyTorch tensors: values, gradients, modules, views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from regard import reference
from torch_tensors import tensors

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

# PyTorch's own, when it first goes in forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"causal": True},
    {"window": (2, 1), "softcap": 1.5},
    {"causal": True, "key_lengths": np.array([7, 3])},
    {"dropout": 0.3, "seed": 5},
    {"similarity": "cosine", "scale": 3.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradcheck(options: dict[str, Any]) -> None:
    inputs = tensors((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3))
    assert torch.autograd.gradcheck(lambda *x: adapter.attention(*x, **options), inputs)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_forward_mode(options: dict[str, Any]) -> None:
    inputs = tensors((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3))
    assert torch.autograd.gradcheck(
        lambda *x: adapter.attention(*x, **options), inputs, check_forward_ad=True
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_forward_mode_without_gradients(dtype: str) -> None:
    forward = torch.autograd.forward_ad
    kind = getattr(torch, dtype)
    q, k, v, move, sinks = (x.detach() for x in tensors(*[(2, 5, 8)] * 4, (2,), dtype=kind))
    with torch.no_grad(), forward.dual_level():
        out = adapter.attention(q, forward.make_dual(k, move), v, sinks=sinks)
        got = forward.unpack_dual(out).tangent
        with pytest.raises(NotImplementedError, match="no forward mode for sinks"):
            adapter.attention(q, k, v, sinks=forward.make_dual(sinks, sinks))
    assert got.dtype == kind
    arrays = (x.double().numpy() for x in (q, k, v))
    _, want = regard.attention_jvp(
        *arrays, dkey=move.double().numpy(), sinks=sinks.double().numpy()
    )
    tolerance = {"float32": 1e-6, "bfloat16": 2e-2}[dtype]
    np.testing.assert_allclose(got.double().numpy(), want, atol=tolerance, rtol=tolerance)


def test_gradcheck_of_bias_sinks_and_slopes() -> None:
    inputs = tensors((2, 4, 6), (2, 5, 6), (2, 5, 6), (2, 1, 5), (2,), (2,))

    def call(q: Any, k: Any, v: Any, bias: Any, sinks: Any, slopes: Any) -> Any:
        return adapter.attention(q, k, v, bias=bias, sinks=sinks, alibi_slopes=slopes)

    assert torch.autograd.gradcheck(call, inputs)


BIASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "relative": (regard.bias.Relative(np.zeros((9, 4))), (9, 4)),
    "for all heads": (regard.bias.Relative(np.zeros(9)), (9,)),
    "T5": (regard.bias.T5(np.zeros((8, 4)), max_distance=16), (8, 4)),
    "T5, to the left": (
        regard.bias.T5(np.zeros((8, 4)), bidirectional=False, max_distance=16), (8, 4)
    ),
    "grid": (regard.bias.Grid(np.zeros((15, 4)), 2, 3), (15, 4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", BIASES)
def test_gradcheck_of_a_learned_position_bias(kind: str) -> None:
    bias, shape = BIASES[kind]
    keys = 6 if kind == "grid" else 7
    inputs = tensors((2, 4, 6, 5), (2, 2, keys, 5), (2, 2, keys, 3), shape)

    def call(q: Any, k: Any, v: Any, table: Any) -> Any:
        return adapter.attention(q, k, v, position_bias=bias, position_table=table)

    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_learned_keeps_its_dtype(dtype: str) -> None:
    kind = getattr(torch, dtype)
    bias, shape = BIASES["T5"]
    arrays = tensors((4, 6, 5), (2, 7, 5), (2, 7, 3), dtype=kind)
    names = "position_table", "bias", "sinks", "alibi_slopes"
    learned = tensors(shape, (4, 1, 7), (4,), (4,), dtype=kind)
    given = dict(zip(names, learned, strict=True))
    out = adapter.attention(*arrays, position_bias=bias, **given)
    dout = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1)).to(kind)
    got = torch.autograd.grad(out, learned, dout)
    with torch.no_grad():
        assert torch.equal(adapter.attention(*arrays, position_bias=bias, **given), out)
    table, *others = (x.detach().double().numpy() for x in learned)
    options = dict(zip(names[1:], others, strict=True), position_bias=bias.with_table(table))
    wide = [x.detach().double().numpy() for x in (dout, *arrays)]
    want = reference.gradients(*wide, **options)
    tolerance = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 0.03}[dtype]
    for name, gradient in zip(names, got, strict=True):
        assert gradient.dtype == kind
        expected = getattr(want, name.replace("table", "bias"))
        np.testing.assert_allclose(
            gradient.double().numpy(), expected, tolerance, tolerance * np.abs(expected).max()
        )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_and_gradients_are_those_of_torch(dtype: str) -> None:
    kind = getattr(torch, dtype)
    inputs = tensors((2, 4, 33, 16), (2, 4, 33, 16), (2, 4, 33, 16), dtype=kind)
    dout = torch.randn(2, 4, 33, 16, generator=torch.Generator().manual_seed(1)).to(kind)
    ours = adapter.attention(*inputs, causal=True)
    assert ours.dtype == kind
    gradients = torch.autograd.grad(ours, inputs, dout)
    wide = [x.detach().double().requires_grad_() for x in inputs]
    theirs = torch.nn.functional.scaled_dot_product_attention(*wide, is_causal=True)
    expected = torch.autograd.grad(theirs, wide, dout.double())
    tolerance = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for got, want in zip((ours, *gradients), (theirs, *expected), strict=True):
        assert got.dtype == kind
        torch.testing.assert_close(got.double(), want, rtol=tolerance, atol=4 * tolerance)


def test_tensors_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = regard.attention

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.extend(options[name] for name in ("query", "key", "value"))
        return original(*arguments, **options)

    monkeypatch.setattr(regard, "attention", spy)
    for kind in (torch.float32, torch.bfloat16):
        seen.clear()
        qkv = torch.randn(2, 9, 3, 4, 8).to(kind).requires_grad_()
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        adapter.attention(q, k, v)
        assert [x.ctypes.data for x in seen] == [x.data_ptr() for x in (q, k, v)]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_lie_as_queries_do(dtype: str, grad: bool) -> None:
    kind = getattr(torch, dtype)
    query, key, value = tensors((2, 9, 4, 8), (2, 7, 2, 8), (2, 7, 2, 5), dtype=kind)
    views = [x.transpose(1, 2) for x in (query, key, value)]
    copies = [x.detach().contiguous().requires_grad_() for x in views]
    with torch.set_grad_enabled(grad):
        out = adapter.attention(*views, causal=True)
        same = adapter.attention(*copies, causal=True)
    assert out.transpose(1, 2).is_contiguous()
    assert same.is_contiguous()
    assert torch.equal(out, same)
    if grad:
        got = torch.autograd.grad(out.float().square().sum(), [query, key, value])
        want = torch.autograd.grad(same.float().square().sum(), copies)
        for a, b in zip(got, want, strict=True):
            assert torch.equal(a.transpose(1, 2), b)
    shared = adapter.attention(views[0], views[1][:1], views[2][:1])  # broadcast
    assert torch.equal(shared, adapter.attention(copies[0], copies[1][:1], copies[2][:1]))


def test_inside_a_module() -> None:
    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.qkv = torch.nn.Linear(16, 48)
            self.out = torch.nn.Linear(16, 4)

        def forward(self, x: Any) -> Any:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            return self.out(adapter.attention(q, k, v).transpose(1, 2).flatten(2)).mean(1)

    torch.manual_seed(0)
    block = Block()
    x, labels = torch.randn(32, 6, 16), torch.arange(32) % 4
    optimizer = torch.optim.Adam(block.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(block(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_only_needed_gradients_and_no_graph_without_any() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    adapter.attention(q.detach(), k.detach(), v).sum().backward()
    assert q.grad is None
    assert v.grad is not None
    with torch.no_grad():
        assert not adapter.attention(q, k, v).requires_grad
    assert not adapter.attention(q.detach(), k.detach(), v.detach()).requires_grad


def test_a_changed_tensor_is_noticed() -> None:
    q, k, v = (x.detach().clone().requires_grad_() for x in tensors(*[(2, 5, 8)] * 3))
    moved = q * 1
    out = adapter.attention(moved, k, v)
    moved.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        out.sum().backward()


def test_second_derivatives_are_refused() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    out = adapter.attention(q, k, v)
    (gradient,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        gradient.sum().backward()
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        torch.autograd.gradgradcheck(adapter.attention, (q, k, v))


def test_what_has_no_gradient_is_named() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8), dtype=torch.float32)
    scale = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="scale requires a gradient"):
        adapter.attention(q, k, v, scale=scale)
    adapter.attention(q, k, v, scale=scale.detach()).sum().backward()
    with pytest.raises(ValueError, match="position_table without position_bias"):
        adapter.attention(q, k, v, position_table=torch.zeros(9))
    stored, scales = (torch.from_numpy(x) for x in regard.quantize_kv(k.detach().numpy()))
    with pytest.raises(ValueError, match="no derivatives with key_scales"):
        adapter.attention(q, stored, v, key_scales=scales)
    with torch.no_grad():
        adapter.attention(q, stored, v, key_scales=scales)


def test_what_is_no_tensor_is_named() -> None:
    q, k, _ = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    with pytest.raises(TypeError, match="value is a ndarray"):
        adapter.attention(q, k, np.zeros((2, 5, 8)))
    with pytest.raises(TypeError, match="key is on the device meta"):
        adapter.attention(q, k.to("meta"), k)


def test_lse_has_gradients() -> None:
    inputs = tensors((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 3), (4,))

    def call(q: Any, k: Any, v: Any, sinks: Any) -> Any:
        return adapter.attention(q, k, v, sinks=sinks, causal=True, return_lse=True)

    assert torch.autograd.gradcheck(call, inputs)
    _, lse = call(*inputs)  # alone, too
    assert torch.autograd.grad(lse.sum(), inputs[0])[0].abs().max() > 0
    plain = [x.detach() for x in inputs]
    assert torch.autograd.gradcheck(
        lambda k: call(plain[0], k, *plain[2:]), (inputs[1],), check_forward_ad=True
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    """What is computed again drops the same weights."""
    inputs = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))

    def layer(q: Any, k: Any, v: Any) -> Any:
        out = adapter.attention(q, k, v, causal=True)
        return adapter.scaled_dot_product_attention(out, k, v, dropout_p=0.5)

    torch.manual_seed(0)
    want = torch.autograd.grad(layer(*inputs).square().sum(), inputs)
    torch.manual_seed(0)
    out = torch.utils.checkpoint.checkpoint(layer, *inputs, use_reentrant=reentrant)
    out.square().sum().backward()
    for a, b in zip(inputs, want, strict=True):
        torch.testing.assert_close(a.grad, b)


def test_inference_mode() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    want = adapter.attention(q, k, v, causal=True)
    with torch.inference_mode():
        got = adapter.attention(q, k, v, causal=True)
    assert got.is_inference()
    assert torch.equal(got, want)


def test_a_seed_may_be_a_tensor() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    seed = torch.tensor(2**62 + 1)
    got = adapter.attention(q, k, v, dropout=0.5, seed=seed)
    assert torch.equal(got, adapter.attention(q, k, v, dropout=0.5, seed=2**62 + 1))


def test_bad_input_is_named() -> None:
    q, k, v = tensors((2, 5, 8), (2, 5, 8), (2, 5, 8))
    mask = torch.zeros(5, 5, requires_grad=True)
    with pytest.raises(ValueError, match="mask requires a gradient"):
        adapter.attention(q, k, v, mask=mask)
    with pytest.raises(TypeError, match="no option query_scales"):
        adapter.attention(q, k, v, query_scales=mask)
    with pytest.raises(TypeError, match="no option out"):
        adapter.attention(q, k, v, out=q.detach())
    with pytest.raises(TypeError, match="float64"):
        adapter.attention(q, k.float(), v)
    with pytest.raises(TypeError, match=r"query has dtype torch\.int64"):
        adapter.attention(q.long(), k, v)
    with pytest.raises(TypeError, match="mask is on the device meta"):
        adapter.attention(q, k, v, mask=(mask > 0).to("meta"))
    with pytest.raises(TypeError, match="key is nested or sparse"):
        adapter.attention(q, k.detach().to_sparse(), v)
    with pytest.raises(ValueError, match="key"):
        adapter.attention(q, k[:, :, :4], v)
