"""MultiheadAttention with regard inside, and PyTorch's own samples of modules."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

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


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tokens first": {"batch_first": False},
    "no bias": {"bias": False},
    "other sizes": {"kdim": 10, "vdim": 12},
    "a key more": {"add_bias_kv": True},
    "a zero more": {"add_zero_attn": True},
    "two more": {"add_bias_kv": True, "add_zero_attn": True, "batch_first": False},
}
MASKS = [
    "none",
    "padding",
    "pairs",
    "pairs of heads",
    "both",
    "floats",
    "learned",
    "mixed",
    "causal",
]


def masks(kind: str, batch: int | None, queries: int, keys: int, heads: int) -> dict[str, Any]:
    """Arguments for masks; every query sees a key, since PyTorch has NaN for those that do not."""
    padding = torch.arange(keys) >= torch.tensor([[keys], [3]])
    padding = padding[1] if batch is None else padding
    pairs = (torch.arange(keys) + torch.arange(queries)[:, None]) % 3 == 1
    if kind == "causal":
        later = torch.full((queries, keys), -math.inf).triu(1)
        return {"attn_mask": later, "is_causal": True, "need_weights": False}
    if kind == "pairs of heads":
        every = (batch or 1) * heads
        return {
            "attn_mask": pairs.repeat(every, 1, 1) & (torch.arange(every) % 2)[:, None, None].bool()
        }
    floats = torch.randn(queries, keys).masked_fill(pairs, -math.inf)
    padded = torch.zeros(padding.shape).masked_fill(padding, -math.inf)
    return {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "pairs": {"attn_mask": pairs},
        "both": {"attn_mask": pairs, "key_padding_mask": padding},
        "floats": {"attn_mask": floats, "key_padding_mask": padded},
        "learned": {"attn_mask": torch.randn(queries, keys).requires_grad_()},
        "mixed": {"attn_mask": floats, "key_padding_mask": padding},
    }[kind]


@pytest.mark.parametrize("weights", [False, True, "each"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_attention_across(kind: str, mask: str, weights: Any) -> None:
    options: dict[str, Any] = {"batch_first": True, **KINDS[kind]}
    model = spread(nn.MultiheadAttention(8, 2, **options))
    made = masks(mask, 2, 5, 7, 2)
    if mask == "causal" and "more" in kind:
        return  # PyTorch hides the key more by the hint, and shows it by the mask
    sizes = [8, options.get("kdim", 8), options.get("vdim", 8)]
    inputs = [
        torch.randn(2, n, size).requires_grad_() for n, size in zip((5, 7, 7), sizes, strict=True)
    ]
    if sizes == [8, 8, 8] and mask in ("padding", "floats"):
        inputs[2] = inputs[1]  # the same tensor is projected once
    if not options["batch_first"]:
        inputs = [x.transpose(0, 1) for x in inputs]
    asked = {"need_weights": bool(weights), "average_attn_weights": weights != "each"}
    check(model, inputs, {**asked, **made})


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("first", [False, True])
def test_attention_of_one_batchless_sequence(first: bool, mask: str) -> None:
    model = spread(nn.MultiheadAttention(8, 2, batch_first=first))
    x = torch.randn(6, 8).requires_grad_()
    check(model, [x, x, x], masks(mask, None, 6, 6, 2))


SAMPLED = (
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "Transformer",
)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", SAMPLED)
def test_samples_of_torch(name: str, training: bool) -> None:
    """What PyTorch tries its modules with itself."""
    pytest.importorskip("expecttest", reason="PyTorch's samples need it")
    modules = pytest.importorskip("torch.testing._internal.common_modules")
    (info,) = (x for x in modules.module_db if x.module_cls is getattr(nn, name))
    samples = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )
    count = 0
    for sample in itertools.islice(samples, int(training), None, 4):
        made, given = sample.constructor_input, sample.forward_input
        model = info.module_cls(*made.args, **made.kwargs).double().train(training)
        check(model, list(given.args), dict(given.kwargs))
        count += 1
    assert count >= 1


@pytest.mark.parametrize("weights", [False, True])
def test_dropout_in_training(weights: bool) -> None:
    """The values are 1, so that outputs are what is kept of a row, over what is in the mean."""
    model = nn.MultiheadAttention(4, 2, dropout=0.25, batch_first=True, bias=False)
    with torch.no_grad():
        model.in_proj_weight[8:] = torch.eye(4)
        model.out_proj.weight.copy_(torch.eye(4))
    x, ones = torch.randn(8, 200, 4) * 0.1, torch.ones(8, 200, 4)
    spreads = []
    for patched in (False, True):
        if patched:
            adapter.patch(model)
        with torch.no_grad():
            out, seen = model(x, x, ones, need_weights=weights, average_attn_weights=False)
        assert abs(float(out.mean()) - 1) < 0.01
        spreads.append(float(out.std()))
        if seen is not None:  # the weights are those that the output was made of
            torch.testing.assert_close(
                out.unflatten(-1, (2, 2))[..., 0], seen.sum(-1).transpose(1, 2)
            )
            assert abs(float((seen == 0).double().mean()) - 0.25) < 0.01
    assert abs(spreads[1] / spreads[0] - 1) < 0.05
    model.eval()
    assert torch.allclose(model(x, x, ones, need_weights=weights)[0], torch.ones(8, 200, 4))
    torch.manual_seed(3)
    first = model.train()(x, x, ones, need_weights=weights)[0]
    torch.manual_seed(3)
    assert torch.equal(first, model(x, x, ones, need_weights=weights)[0])


def test_a_query_that_sees_nothing_gives_zero() -> None:
    model = nn.MultiheadAttention(4, 2, batch_first=True, bias=False)
    x = torch.randn(2, 3, 4)
    hidden = torch.tensor([[False] * 3, [True] * 3])
    with adapter.patch(model):
        out, weights = model(x, x, x, key_padding_mask=hidden)
    assert torch.equal(out[1], torch.zeros(3, 4))
    assert torch.equal(weights[1], torch.zeros(3, 3))


def test_torch_func() -> None:
    model = spread(nn.MultiheadAttention(8, 2, batch_first=True))
    parameters = {name: x.detach() for name, x in model.named_parameters()}
    x = torch.randn(4, 5, 8)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [1], [2]])
    bias = torch.randn(5, 5)

    def loss(parameters: Any, x: Any, padding: Any) -> Any:
        options = {"key_padding_mask": padding, "attn_mask": bias}
        out, weights = torch.func.functional_call(model, parameters, (x, x, x), options)
        return out.square().sum() + weights.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    want = each(parameters, x, padding)
    with adapter.patch(model):
        got = each(parameters, x, padding)
    for name, gradient in want.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-9, atol=1e-10)


def test_weights_are_an_operator() -> None:
    query, key = torch.randn(2, 4, 5, 6).requires_grad_(), torch.randn(2, 4, 7, 6).requires_grad_()
    mask = torch.rand(5, 7) < 0.7
    bias = torch.randn(4, 1, 7).requires_grad_()
    operator = torch.ops.regard.attention_weights.default
    torch.library.opcheck(operator, (query, key, mask, bias))
    assert torch.autograd.gradcheck(operator, (query, key, mask, bias))
    assert torch.autograd.gradgradcheck(
        lambda q, k: operator(q, k, mask, bias.detach()), (query, key)
    )


def test_autocast() -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True).float()
    x, bias = torch.randn(2, 5, 8, dtype=torch.float32), torch.randn(5, 5, dtype=torch.float32)
    want, _ = model(x, x, x, attn_mask=bias)
    with adapter.patch(model), torch.autocast("cpu", dtype=torch.bfloat16):
        for weights in (False, True):
            got, _ = model(x, x, x, attn_mask=bias, need_weights=weights)
            assert got.dtype == torch.bfloat16
            torch.testing.assert_close(got.float(), want, rtol=0.05, atol=0.05)


def test_errors() -> None:
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    adapter.patch(model)
    x = torch.randn(2, 5, 8)
    bad: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"attn_mask": torch.ones(5, 4) > 0}, RuntimeError, "attn_mask has shape"),
        ({"attn_mask": torch.ones(3, 5, 5) > 0}, RuntimeError, "attn_mask has shape"),
        ({"attn_mask": torch.ones(5, 5).long()}, TypeError, "attn_mask has dtype"),
        ({"key_padding_mask": torch.ones(2, 6) > 0}, RuntimeError, "key_padding_mask has shape"),
        ({"key_padding_mask": torch.ones(2, 5).int()}, TypeError, "key_padding_mask has dtype"),
        ({"attn_mask": (torch.ones(5, 5) > 0).to("meta")}, TypeError, "on the device meta"),
        ({"is_causal": True}, RuntimeError, "is_causal without attn_mask"),
    ]
    for options, kind, message in bad:
        with pytest.raises(kind, match=message):
            model(x, x, x, **options)
    nested = torch.nested.nested_tensor([x[0], x[1, :3]])
    with pytest.raises(TypeError, match="query is nested"):
        model(nested, nested, nested)
