"""Attention as models call it, against the formula in torch; bad input."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import regard

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")

BATCH, HEADS, QUERIES, KEYS = 2, 4, 7, 9


def attention(*arguments: Any, **keywords: Any) -> Any:
    function = pytest.importorskip("transformers").AttentionInterface()["regard"]
    module = keywords.pop("module", SimpleNamespace(is_causal=False))
    return function(module, *arguments, **keywords)


def inputs(kv_heads: int = 2, value_dim: int = 6, dtype: Any = None) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    shapes = (HEADS, QUERIES, 8), (kv_heads, KEYS, 8), (kv_heads, KEYS, value_dim)
    return [
        torch.randn(BATCH, *shape, generator=generator, dtype=dtype or torch.float64)
        .transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
        for shape in shapes
    ]  # fmt: skip


def eager(query: Any, key: Any, value: Any, bias: Any = 0.0, **options: Any) -> tuple[Any, Any]:
    """The formula, with all that models ask for."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * options.get("scaling", query.shape[-1] ** -0.5)
    if "softcap" in options:
        scores = torch.tanh(scores / options["softcap"]) * options["softcap"]
    scores = scores + bias
    extra = options.get("sinks")
    if extra is not None:
        extra = extra.reshape(1, -1, 1, 1) if extra.ndim == 1 else extra
        scores = torch.cat([scores, extra.expand(*scores.shape[:3], 1)], dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., : key.shape[2]]
    return (weights @ value).transpose(1, 2), weights


def bool_mask() -> Any:
    mask = torch.ones(BATCH, 1, QUERIES, KEYS, dtype=torch.bool)
    mask[1, :, :, 6:] = False
    return mask


def as_bias(mask: Any) -> Any:
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, float("-inf"))


def position_bias() -> Any:
    generator = torch.Generator().manual_seed(1)
    shape = 1, HEADS, QUERIES, KEYS
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def sinks(*shape: int) -> Any:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


MASKED = as_bias(bool_mask())
CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    # attention_mask, keywords, and the mask as the formula adds it
    "plain": (None, {}, 0.0),
    "scaling": (None, {"scaling": 0.7}, 0.0),
    "softcap": (None, {"softcap": 0.9}, 0.0),
    "bool mask": (bool_mask(), {}, MASKED),
    "float mask": (MASKED, {}, MASKED),
    "longer mask": (torch.nn.functional.pad(bool_mask(), (0, 3)), {}, MASKED),
    "position bias": (None, {"position_bias": position_bias()}, 0.0),
    "bias and mask": (MASKED, {"position_bias": position_bias()}, MASKED),
    "bias and bool mask": (bool_mask(), {"position_bias": position_bias()}, MASKED),
    "sinks": (None, {"s_aux": sinks(HEADS)}, 0.0),
    "sinks of queries": (
        bool_mask(),
        {"sinks": sinks(BATCH, HEADS, QUERIES, 1), "scaling": 0.3},
        MASKED,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gradients", [False, True], ids=["plain", "gradients"])
def test_against_the_formula(case: str, gradients: bool) -> None:
    mask, keywords, added = CASES[case]
    query, key, value = inputs()
    leaves = [query, key, value, *(x for x in keywords.values() if isinstance(x, torch.Tensor))]
    options = {name: x for name, x in keywords.items() if name != "position_bias"}
    if "s_aux" in options:
        options["sinks"] = options.pop("s_aux")
    bias = keywords.get("position_bias", 0.0) + added
    expected, weights = eager(query, key, value, bias, **options)
    with torch.set_grad_enabled(gradients):
        out, none = attention(query, key, value, mask, **keywords)
        _, found = attention(query, key, value, mask, output_attentions=True, **keywords)
    assert none is None
    assert out.shape == (BATCH, QUERIES, HEADS, 6)
    assert out.is_contiguous()
    assert out.requires_grad == gradients
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=1e-9)
    if gradients:
        direction = torch.randn(out.shape, dtype=torch.float64)
        pairs = (torch.autograd.grad((x * direction).sum(), leaves) for x in (out, expected))
        for ours, theirs in zip(*pairs, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(dtype: str) -> None:
    kind = getattr(torch, dtype)
    query, key, value = (x.detach().to(kind) for x in inputs())
    bias = position_bias().detach().float()  # of another dtype, as T5 has it under bfloat16
    aux = sinks(HEADS).detach().to(kind)
    out, weights = attention(
        query, key, value, None, position_bias=bias, s_aux=aux, output_attentions=True
    )
    assert out.dtype == weights.dtype == kind
    exact, _ = eager(*(x.double() for x in (query, key, value)), bias.double(), sinks=aux.double())
    tolerance = {"float32": 1e-6, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    torch.testing.assert_close(out.double(), exact, rtol=tolerance, atol=tolerance)


def test_causal_by_argument_by_module_and_for_one_query() -> None:
    query, key, value = (x.detach() for x in inputs())
    square = query, key[:, :, :QUERIES], value[:, :, :QUERIES]
    lower = torch.ones(QUERIES, QUERIES, dtype=torch.bool).tril()
    causal, _ = eager(*square, as_bias(lower))
    full, _ = eager(*square)
    decoder, encoder = SimpleNamespace(is_causal=True), SimpleNamespace(is_causal=False)
    for module, argument, expected in (
        (decoder, None, causal),
        (encoder, None, full),
        (encoder, True, causal),
        (decoder, False, full),
        (SimpleNamespace(), None, full),
    ):
        out, _ = attention(*square, None, module=module, is_causal=argument)
        torch.testing.assert_close(out, expected)
    last, _ = attention(query[:, :, -1:], key, value, None, module=decoder)
    torch.testing.assert_close(last, eager(query[:, :, -1:], key, value)[0])


def test_dropout_draws_from_torchs_generator() -> None:
    query, key, value = (x.detach() for x in inputs())
    torch.manual_seed(7)
    first, second = (attention(query, key, value, None, dropout=0.5)[0] for _ in range(2))
    torch.manual_seed(7)
    again, _ = attention(query, key, value, None, dropout=0.5)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    torch.manual_seed(7)
    seed = int(torch.randint(0, 2**62, ()))
    arrays = (x.numpy() for x in (query, key, value))
    expected = regard.attention(*arrays, dropout=0.5, seed=seed)
    np.testing.assert_array_equal(first.numpy(), expected.swapaxes(1, 2))


def test_queries_that_all_texts_share() -> None:
    query, key, value = (x.detach() for x in inputs())
    out, _ = attention(query[:1], key, value, None)
    torch.testing.assert_close(out, eager(query[:1], key, value)[0])


def test_autocast() -> None:
    query, key, value = (x.detach().float() for x in inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, _ = attention(query, key, value.bfloat16(), None)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), eager(query, key, value)[0], rtol=3e-2, atol=3e-2)


def test_no_gradient_through_weights() -> None:
    query, key, value = inputs()
    _, weights = attention(query, key, value, None, output_attentions=True)
    with pytest.raises(NotImplementedError, match="no gradient through the weights"):
        weights.sum().backward()


def test_no_derivatives_of_derivatives() -> None:
    query, key, value = inputs()
    out, _ = attention(query, key, value, None, sinks=sinks(BATCH, HEADS, QUERIES, 1))
    (first,) = torch.autograd.grad(out.sum(), query, create_graph=True)
    with pytest.raises(NotImplementedError, match="derivatives of derivatives"):
        torch.autograd.grad(first.sum(), query)


def test_unknown_keywords_are_said_once_and_counted() -> None:
    query, key, value = (x.detach() for x in inputs())
    adapter.stats(reset=True)
    attention(query, key, value, None, sliding_window=4, future=None)  # known, and nothing
    assert adapter.stats() == {"call: forward": 1}
    with pytest.warns(RuntimeWarning, match="the keyword future is not known"):
        attention(query, key, value, None, future=3)
    attention(query, key, value, None, future=3)
    assert adapter.stats()["keyword: future"] == 2


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "meta": (
        {"query": torch.empty(2, 4, 7, 8, device="meta")},
        TypeError,
        "query is on the device",
    ),
    "axes": ({"key": torch.zeros(2, 9, 8)}, ValueError, r"key has shape \(2, 9, 8\)"),
    "mixed": ({"value": torch.zeros(2, 2, 9, 6)}, TypeError, "value torch.float32"),
    "heads": ({"key": torch.zeros(2, 3, 9, 8).double()}, ValueError, "key"),
    "mask": (
        {"attention_mask": torch.ones(2, 1, 5, 9, dtype=torch.bool)},
        ValueError,
        "mask does not broadcast",
    ),
    "learned scale": (
        {"scaling": torch.ones((), requires_grad=True, dtype=torch.float64)},
        ValueError,
        "scale requires a gradient",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    given, error, message = BAD[case]
    query, key, value = inputs()
    arguments = {"query": query, "key": key, "value": value, "attention_mask": None, **given}
    with pytest.raises(error, match=message):
        attention(**arguments)


def test_register_is_idempotent_and_takes_no_names() -> None:
    interface = pytest.importorskip("transformers").AttentionInterface
    before = interface()["regard"]
    adapter.register()
    assert interface()["regard"] is before
    for name in ("sdpa", "eager"):
        with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
            adapter.register(name)
    assert interface()["sdpa"] is not before


@pytest.mark.parametrize("function", ["packed", "watch"])
def test_what_is_no_model_is_refused(function: str) -> None:
    with (
        pytest.raises(TypeError, match=f"^{function}: model is a int"),
        getattr(adapter, function)(3),
    ):
        pass


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^register: name is a int"):
        adapter.register(3)
