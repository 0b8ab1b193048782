"""Packed batches: the numbers of the texts one by one, and nothing of their padding."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")
import transformers  # noqa: E402

from benchmarks.adapters.architectures import small  # noqa: E402
from benchmarks.adapters.checks import quiet  # noqa: E402
from regard.transformers import _packed  # noqa: E402

LENGTHS = (20, 15, 7)
SAMPLE = ("bert", "distilbert", "modernbert", "roberta", "gemma3_text", "llama", "gpt_neox")


def there(kind: str) -> bool:
    """Whether the installed transformers has the model, on its attention interface."""
    if kind not in transformers.CONFIG_MAPPING:
        return False
    model = transformers.MODEL_MAPPING[transformers.CONFIG_MAPPING[kind]]
    return bool(model._can_set_attn_implementation())


def built(kind: str, implementation: str = "regard") -> Any:
    make = transformers.CONFIG_MAPPING[kind]
    with quiet():
        config = make(**{**small(make()), "pad_token_id": 1})
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config, attn_implementation=implementation)
    return model.float().eval()


def batch(left: bool = False) -> tuple[Any, Any]:
    """Texts padded with 1, on the right or on the left, and what is text."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, 90, (3, 20), generator=generator)
    mask = torch.zeros_like(tokens)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[20 - length if left else 0 : 20 if left else length] = 1
    return tokens.masked_fill(mask == 0, 1), mask


def gradients(model: Any, output: Any) -> Any:
    """Of a loss that weighs every number of each text by its place in the text."""
    direction = torch.randn(20, output[0].shape[-1], generator=torch.Generator().manual_seed(2))
    loss = sum((x * direction[: len(x)]).sum() for x in output)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat([x.flatten() for x in found if x is not None])


def check(kind: str, left: bool) -> None:
    model = built(kind)
    tokens, mask = batch(left)
    texts = [row[real.bool()] for row, real in zip(tokens, mask, strict=True)]
    alone = [model(text[None], output_hidden_states=True) for text in texts]
    adapter.stats(reset=True)
    with adapter.packed(model):
        out = model(tokens, attention_mask=mask, output_hidden_states=True)
        with torch.no_grad():
            plain = model(tokens, attention_mask=mask).last_hidden_state
    counts = adapter.stats()
    assert counts["call: packed"] == 2 * model.config.num_hidden_layers
    assert not {name for name in counts if name in ("mask: made dense", "call: forward")}
    assert torch.equal(out.last_hidden_state, plain)
    assert not out.last_hidden_state[mask == 0].any()
    for name in ("last_hidden_state", "hidden_states"):
        layers = [out[name]] if name == "last_hidden_state" else out[name]
        others = [[x[name]] if name == "last_hidden_state" else x[name] for x in alone]
        for i, layer in enumerate(layers):
            for row, real, other in zip(layer, mask, others, strict=True):
                torch.testing.assert_close(row[real.bool()], other[i][0], rtol=1e-4, atol=1e-5)
    if out.get("pooler_output") is not None:
        expected = torch.cat([x.pooler_output for x in alone])
        if not left:  # poolers take the first column
            torch.testing.assert_close(out.pooler_output, expected, rtol=1e-4, atol=1e-5)
    rows = [row[real.bool()] for row, real in zip(out.last_hidden_state, mask, strict=True)]
    ours = gradients(model, rows)
    theirs = gradients(model, [x.last_hidden_state[0] for x in alone])
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("kind", list(filter(there, SAMPLE)))
def test_a_sample_is_as_one_by_one(kind: str, left: bool) -> None:
    check(kind, left)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", list(filter(there, sorted(_packed.PACKABLE - set(SAMPLE)))))
def test_every_architecture_is_as_one_by_one(kind: str) -> None:
    check(kind, left=False)


def test_heads_and_positions_of_the_user() -> None:
    """A head on top sees padded rows; positions that are given are those that count."""
    config = transformers.LlamaConfig(**small(transformers.LlamaConfig()))
    config._attn_implementation = "regard"
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    tokens, mask = batch()
    positions = (mask.cumsum(1) - 1).clamp(min=0) * 2
    padded = model(tokens, attention_mask=mask, position_ids=positions, labels=tokens)
    with adapter.packed(model):
        out = model(tokens, attention_mask=mask, position_ids=positions)
    real = mask.bool()
    torch.testing.assert_close(out.logits[real], padded.logits[real], rtol=1e-4, atol=1e-5)


def test_forward_is_given_back() -> None:
    model = built("bert")
    before = model.forward
    tokens, mask = batch()
    with adapter.packed(model), pytest.raises(ValueError, match="return_dict"):
        model(tokens, attention_mask=mask, return_dict=False)
    with pytest.raises(IndexError), adapter.packed(model):
        model(tokens + 1000, attention_mask=mask)
    assert model.forward == before
    assert "forward" not in vars(model)


def test_texts_without_tokens() -> None:
    model = built("bert")
    tokens, mask = batch()
    mask[1] = 0
    with adapter.packed(model):
        out = model(tokens, attention_mask=mask).last_hidden_state
    alone = model(tokens[2:, :7]).last_hidden_state
    torch.testing.assert_close(out[2:, :7], alone, rtol=1e-4, atol=1e-5)
    assert not out[1].any()


def test_models_that_cannot_be_packed() -> None:
    config = transformers.MPNetConfig(**small(transformers.MPNetConfig()))
    for model, message in (
        (torch.nn.Linear(2, 2), "no model of transformers inside"),
        (transformers.MPNetModel(config), "architecture mpnet was not tried"),
        (built("bert", "sdpa"), "attn_implementation is 'sdpa'"),
    ):
        with pytest.raises(ValueError, match=message), adapter.packed(model):
            pass


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "cache": ({"use_cache": True}, NotImplementedError, "the call has a cache"),
    "weights": ({"output_attentions": True}, ValueError, "output_attentions is True"),
    "tuple": ({"return_dict": False}, ValueError, "return_dict is False"),
    "mask": ({"attention_mask": torch.ones(3, 1, 20, 20)}, ValueError, "attention_mask has shape"),
    "no tokens": ({"attention_mask": torch.zeros(3, 20)}, ValueError, "is 0 everywhere"),
    "other": ({"cache_position": torch.arange(20)}, ValueError, "no packed form of cache_position"),
    "nothing": ({"input_ids": None}, ValueError, "neither input_ids nor inputs_embeds"),
}


@pytest.mark.parametrize("case", BAD)
def test_calls_that_cannot_be_packed(case: str) -> None:
    given, error, message = BAD[case]
    model = built("llama")
    tokens, mask = batch()
    with adapter.packed(model), pytest.raises(error, match=message):
        model(**{"input_ids": tokens, "attention_mask": mask, **given})


def test_a_model_that_keeps_the_pieces_to_itself() -> None:
    """Its texts would see each other: an error, not a number."""
    model = built("bert")
    layer = model.encoder.layer[1]
    padded = layer.forward

    def forgetful(*arguments: Any, **keywords: Any) -> Any:
        pieces = ("cu_seq_lens_q", "cu_seq_lens_k")
        return padded(*arguments, **{n: x for n, x in keywords.items() if n not in pieces})

    layer.forward = forgetful
    tokens, mask = batch()
    refused = pytest.raises(NotImplementedError, match="does not pass cu_seq_lens_q on")
    with adapter.packed(model), refused:
        model(tokens, attention_mask=mask)
    model(tokens, attention_mask=mask)  # and nothing of it is left


def test_pieces_of_the_user() -> None:
    """As a collator for flash attention gives them, with a window."""
    model = built("mistral")
    tokens, mask = batch()
    real = mask.bool()
    starts = torch.tensor([0, 20, 35, 42], dtype=torch.int32)
    positions = torch.cat([torch.arange(n) for n in LENGTHS])
    out = model(
        tokens[real][None], position_ids=positions[None], use_cache=False,
        cu_seq_lens_q=starts, cu_seq_lens_k=starts, max_length_q=20, max_length_k=20,
    ).last_hidden_state  # fmt: skip
    padded = model(tokens, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(out[0], padded[real], rtol=1e-4, atol=1e-5)
    # Without pieces the positions say the same, by a mask of documents.
    adapter.stats(reset=True)
    packed = model(tokens[real][None], position_ids=positions[None], use_cache=False)
    assert adapter.stats()["mask: blocks"] == 1
    torch.testing.assert_close(packed.last_hidden_state, out, rtol=1e-4, atol=1e-5)


PIECES = {"cu_seq_lens_q": torch.tensor([0, 3, 8])}


def test_pieces_of_a_call_and_what_does_not_go_with_them() -> None:
    call = transformers.AttentionInterface()["regard"]
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Module()
    query = torch.randn(1, 4, 8, 6, generator=generator, dtype=torch.float64)
    sinks = torch.randn(1, 4, 8, 1, generator=generator, dtype=torch.float64)
    for extra in ({}, {"sinks": sinks}, {"s_aux": sinks[0, :, 0, 0]}):
        out, _ = call(module, query, query, query, None, is_causal=True, **PIECES, **extra)
        for a, b in ((0, 3), (3, 8)):
            part = query[:, :, a:b]
            one = {n: x[:, :, a:b] if x.ndim == 4 else x for n, x in extra.items()}
            alone, _ = call(module, part, part, part, None, is_causal=True, **one)
            torch.testing.assert_close(out[:, a:b], alone)
    for given, message in (
        ({"attention_mask": torch.ones(1, 1, 8, 8).bool()}, "attention_mask .* comes together"),
        ({"position_bias": torch.ones(1, 4, 8, 8)}, "position_bias comes together"),
        ({"output_attentions": True}, "output_attentions comes together"),
        ({"query": torch.cat([query, query])}, "A packed batch is one row"),
    ):
        arguments = {"query": query, "key": query, "value": query, "attention_mask": None}
        with pytest.raises(ValueError, match=message):
            call(module, **{**arguments, **given}, **PIECES)
