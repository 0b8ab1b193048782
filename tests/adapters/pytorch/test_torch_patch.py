"""Patching whole models: encoders, decoders, and back again."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest

import regard
from torch_modules import check, spread

torch: Any = pytest.importorskip("torch")
adapter: Any = pytest.importorskip("regard.torch")

nn = torch.nn

# Of PyTorch: masks of two types, and nested tensors being a prototype.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def _deterministic() -> Any:
    """Numbers that repeat; float64, so that differences are of meaning and not of rounding."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


LAYERS: dict[str, Any] = {
    "encoder layer": lambda **o: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, **o),
    "encoder": lambda **o: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, **o), 2, nn.LayerNorm(8)
    ),
    "pre-norm": lambda **o: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True, **o), 2,
        enable_nested_tensor=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_encoders(name: str, causal: bool, padded: bool, training: bool) -> None:
    model = spread(LAYERS[name](batch_first=True)).train(training)
    options: dict[str, Any] = {}
    if padded:
        options["src_key_padding_mask"] = torch.arange(6) >= torch.tensor([[6], [4], [1]])
    if causal:
        mask = nn.Transformer.generate_square_subsequent_mask(6)
        options |= {"src_mask" if name == "encoder layer" else "mask": mask, "is_causal": True}
    check(model, [torch.randn(3, 6, 8)], options)


def test_the_fast_path_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """In evaluation, where nothing requires a gradient, encoders go past their modules."""
    model = spread(LAYERS["encoder"](batch_first=True)).eval().requires_grad_(False)
    x = torch.randn(3, 6, 8)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [1]])
    want = model(x, src_key_padding_mask=padding)
    calls: list[Any] = []
    original = regard.attention

    def spy(**arguments: Any) -> Any:
        calls.append(arguments)
        return original(**arguments)

    monkeypatch.setattr(regard, "attention", spy)
    with torch.no_grad(), adapter.patch(model):
        got = model(x, src_key_padding_mask=padding)
    assert [call["key_mask"].sum() for call in calls] == [11, 11]  # padding takes no time
    torch.testing.assert_close(got[~padding], want[~padding], rtol=1e-9, atol=1e-10)
    calls.clear()
    with torch.no_grad():
        assert torch.equal(model(x, src_key_padding_mask=padding), want)
    assert not calls


@pytest.mark.parametrize("first", [False, True])
def test_decoder(first: bool) -> None:
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=first)
    model = spread(nn.TransformerDecoder(layer, 2))
    target, memory = torch.randn(3, 5, 8), torch.randn(3, 6, 8)
    if not first:
        target, memory = target.transpose(0, 1), memory.transpose(0, 1)
    options = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(5),
        "tgt_is_causal": True,
        "memory_key_padding_mask": torch.arange(6) >= torch.tensor([[6], [4], [1]]),
    }
    check(model, [target, memory], options)


def test_the_whole_transformer() -> None:
    model = spread(nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True))
    check(model, [torch.randn(3, 6, 8), torch.randn(3, 5, 8)], {})
    assert adapter.patch(model).modules == (
        "encoder.layers.0.self_attn",
        "decoder.layers.0.self_attn",
        "decoder.layers.0.multihead_attn",
    )


def test_padding_under_transforms_and_fake_tensors() -> None:
    model = spread(LAYERS["encoder"](batch_first=True)).eval()
    x = torch.randn(3, 6, 8)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [1]])
    want = model(x, src_key_padding_mask=padding)
    fake = torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True)
    with adapter.patch(model):
        mapped = torch.func.vmap(lambda x, hidden: model(x, src_key_padding_mask=hidden))
        torch.testing.assert_close(mapped(x, padding), want, rtol=1e-9, atol=1e-10)
        with fake:
            assert model(x, src_key_padding_mask=padding).shape == want.shape


def test_back_again() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    before = {name: type(module) for name, module in model.named_modules()}
    state = {name: x.clone() for name, x in model.state_dict().items()}
    attributes = copy.deepcopy(model.layers[0].__dict__)
    first, second = adapter.patch(model), adapter.patch(model)  # twice is once
    assert first.modules == second.modules == ("layers.0.self_attn", "layers.1.self_attn")
    assert "2 modules" in repr(first)
    assert isinstance(model.layers[0].self_attn, nn.MultiheadAttention)
    assert not model.layers[0].activation_relu_or_gelu
    assert not model.use_nested_tensor
    same = copy.deepcopy(model)
    for one in (model, same):
        adapter.unpatch(one)
        adapter.unpatch(one)
        assert {name: type(module) for name, module in one.named_modules()} == before
        assert one.use_nested_tensor
        assert attributes.keys() == one.layers[0].__dict__.keys()
        assert attributes["activation_relu_or_gelu"] == one.layers[0].activation_relu_or_gelu
        for name, x in one.state_dict().items():
            assert torch.equal(x, state[name])
    error = RuntimeError("inside")
    with pytest.raises(RuntimeError, match="inside"), adapter.patch(model):
        raise error
    assert type(model.layers[0].self_attn) is nn.MultiheadAttention


def test_subclasses() -> None:
    class Plain(nn.MultiheadAttention):  # type: ignore[misc]
        pass

    class Own(nn.MultiheadAttention):  # type: ignore[misc]
        def forward(self, *arguments: Any, **options: Any) -> Any:
            return super().forward(*arguments, **options)

    model = nn.ModuleList([Plain(8, 2), Own(8, 2)])
    assert adapter.patch(model).modules == ("0",)
    assert isinstance(model[0], Plain)
    adapter.unpatch(model)
    assert [type(module) for module in model] == [Plain, Own]


def test_whole_graphs() -> None:
    model = spread(LAYERS["encoder"](batch_first=True))
    attention = spread(nn.MultiheadAttention(8, 2, batch_first=True))
    x = torch.randn(3, 6, 8)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [1]])

    def function(x: Any) -> Any:
        out = model(x, src_key_padding_mask=padding)
        out, weights = attention(out, x, x, key_padding_mask=padding)
        return out.sum() + weights.square().sum()

    parameters = [*model.parameters(), *attention.parameters()]
    want = [function(x), *torch.autograd.grad(function(x), parameters)]
    with adapter.patch(model), adapter.patch(attention), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        graph = torch.compile(function, fullgraph=True, backend="aot_eager")
        got = [graph(x), *torch.autograd.grad(graph(x), parameters)]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_what_cannot_be_patched() -> None:
    with pytest.raises(TypeError, match="model is a list"):
        adapter.patch([])
    with pytest.raises(ValueError, match=r"no torch\.nn\.MultiheadAttention in the model"):
        adapter.patch(nn.Linear(2, 2))
