"""Models in training: checkpoints, dropout, compiled graphs."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")
import transformers  # noqa: E402

from benchmarks.adapters.architectures import small  # noqa: E402

# PyTorch's own, of what its compiler goes around; names that transformers is about to change.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


def built(**options: Any) -> Any:
    config = transformers.LlamaConfig(**{**small(transformers.LlamaConfig()), **options})
    config._attn_implementation = "regard"
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config)


def batch() -> tuple[Any, Any]:
    tokens = torch.randint(5, 90, (2, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    mask[1, 14:] = 0
    return tokens, mask


def gradients(model: Any, seed: int = 0) -> Any:
    tokens, mask = batch()
    torch.manual_seed(seed)
    model.zero_grad(set_to_none=True)
    labels = tokens.masked_fill(mask == 0, -100)
    model(tokens, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    """Attention that is run again has the same mask and drops the same weights."""
    model = built(attention_dropout=0.2).train()
    expected = gradients(model)
    assert not torch.equal(gradients(model, seed=1), expected)
    assert torch.equal(gradients(model), expected)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    adapter.stats(reset=True)
    torch.testing.assert_close(gradients(model), expected)
    assert "mask: made dense" not in adapter.stats()


def test_packed_gradients_with_checkpoints() -> None:
    """The second forward pass comes after the block, in the backward pass."""
    model = built().train()
    expected = gradients(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    tokens, mask = batch()
    model.zero_grad(set_to_none=True)
    with adapter.packed(model):
        logits = model(tokens, attention_mask=mask).logits
    labels = tokens.masked_fill(mask == 0, -100)
    model.loss_function(logits, labels, vocab_size=model.config.vocab_size).backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_compiled() -> None:
    model = built().eval()
    tokens, mask = batch()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        expected = model(tokens, attention_mask=mask, use_cache=False).logits
        found = compiled(tokens, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()])
