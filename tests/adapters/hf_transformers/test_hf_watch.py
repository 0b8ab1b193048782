"""Summaries of a running model: those of its attention, and nothing of (Sq, Sk)."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")
import transformers  # noqa: E402

from benchmarks.adapters.architectures import small  # noqa: E402


def built(**options: Any) -> Any:
    config = transformers.LlamaConfig(**{**small(transformers.LlamaConfig()), **options})
    config._attn_implementation = "regard"
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


def tokens(length: int = 20) -> Any:
    return torch.randint(5, 90, (2, length), generator=torch.Generator().manual_seed(1))


def test_maps_are_those_of_the_weights() -> None:
    model = built()
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, :6] = 0
    with torch.no_grad(), adapter.watch(model, pooled=(5, 4), top_k=2) as seen:
        out = model(tokens(), attention_mask=mask, output_attentions=True)
        model(tokens()[:, :3])
    names = ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    assert list(seen) == names
    for name, weights in zip(names, out.attentions, strict=True):
        first, second = seen[name]
        assert second.pooled.shape == (2, 4, 3, 3)
        cells = weights.reshape(2, 4, 5, 4, 4, 5).sum(-1).mean(3)
        np.testing.assert_allclose(first.pooled, cells.numpy(), atol=1e-6)
        np.testing.assert_allclose(first.row_max, weights.amax(-1).numpy(), atol=1e-6)
        np.testing.assert_allclose(first.column_sums, weights.sum(2).numpy(), atol=1e-5)
        assert first.top_indices.shape == (2, 4, 20, 2)


def test_layers_by_number_and_by_name() -> None:
    model = built()
    for layers in ([1], ["model.layers.1.self_attn"], ["1.self_attn"]):
        with torch.no_grad(), adapter.watch(model, layers=layers) as seen:
            model(tokens())
        assert list(seen) == ["model.layers.1.self_attn"]
    with pytest.raises(ValueError, match="layers has 2"), adapter.watch(model, layers=[2]):
        pass


def test_other_models_and_later_calls_are_not_seen() -> None:
    model, other = built(), built()
    with torch.no_grad(), adapter.watch(model) as seen:
        other(tokens())
    model(tokens())
    assert seen == {}


def test_packed_texts_do_not_see_each_other() -> None:
    model = built()
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 8:] = 0
    with torch.no_grad(), adapter.packed(model), adapter.watch(model, pooled=(28, 28)) as seen:
        model(tokens(), attention_mask=mask)
    for (summary,) in seen.values():
        assert summary.pooled.shape == (1, 4, 28, 28)
        assert not summary.pooled[..., 20:, :20].any()
        assert not summary.pooled[..., :20, 20:].any()


def test_generation_is_seen_step_by_step() -> None:
    model = built()
    with adapter.watch(model, layers=[0]) as seen:
        model.generate(tokens(), max_new_tokens=3, do_sample=False, pad_token_id=0)
    (calls,) = seen.values()
    assert [summary.column_sums.shape[-1] for summary in calls] == [20, 21, 22]


def test_memory_is_linear() -> None:
    """4,096 tokens; one matrix of weights would be 512 MiB for the eight heads of the batch."""
    model = built(max_position_embeddings=4096)
    with torch.no_grad(), adapter.watch(model, layers=[0]) as seen:
        tracemalloc.start()
        model(tokens(4096))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    ((summary,),) = seen.values()
    assert summary.pooled.shape == (2, 4, 64, 64)
    assert peak < 16 * 2**20
