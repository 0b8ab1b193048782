"""Padding out and in again, with gradients, on flash-attn's kinds of padding."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_grids import randn

from regard import flash_attn
from regard.flash_attn import bert_padding

LENGTHS = torch.tensor([5, 0, 8, 3])


def mask_of(kind: str) -> Any:
    right = torch.arange(8) < LENGTHS[:, None]
    return {"right": right, "left": right.flip(1), "holes": right & (torch.arange(8) != 2)}[kind]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["right", "left", "holes"])
def test_unpad_and_pad(kind: str, dtype: Any) -> None:
    mask = mask_of(kind)
    x = randn(4, 8, 3, 2).requires_grad_()
    tokens, indices, starts, longest, used = bert_padding.unpad_input(x, mask.to(dtype))
    counts = [int(n) for n in mask.sum(1)]
    assert [t.tolist() for t in (starts, used)] == [[0, *torch.tensor(counts).cumsum(0)], counts]
    assert (starts.dtype, used.dtype, type(longest), longest) == (
        torch.int32, torch.int32, int, max(counts)
    )  # fmt: skip
    assert torch.equal(tokens, x[mask])
    assert torch.equal(indices, torch.arange(32)[mask.flatten()])
    padded = bert_padding.pad_input(tokens, indices, 4, 8)
    assert torch.equal(padded, x * mask[:, :, None, None])
    assert torch.equal(bert_padding.index_first_axis(x.flatten(0, 1), indices), tokens)
    dout = randn(*padded.shape, seed=1)
    (gradient,) = torch.autograd.grad(padded, x, dout)
    assert torch.equal(gradient, dout * mask[:, :, None, None])


def test_room_that_is_not_used() -> None:
    mask, room = mask_of("right"), torch.arange(8) >= 6
    room = room & ~mask
    x = randn(4, 8, 2)
    for dtype in (torch.bool, torch.int64):
        tokens, _, starts, longest, used = bert_padding.unpad_input(
            x, mask.to(dtype), room.to(dtype)
        )
        assert torch.equal(tokens, x[mask | room])
        assert starts.tolist() == [0, 7, 9, 17, 22]
        assert (longest, used.tolist()) == (8, LENGTHS.tolist())


def test_sequences_one_after_the_other() -> None:
    """The example of the docstring in flash-attn: three rows of two, two and one sequences."""
    lengths = torch.tensor([[2, 3, 0, 0, 0, 0], [3, 2, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0]])
    x = randn(3, 6, 2)
    tokens, indices, starts, longest = bert_padding.unpad_input_for_concatenated_sequences(
        x, lengths
    )
    assert (starts.tolist(), longest) == ([0, 2, 5, 8, 10, 16], 6)
    assert torch.equal(tokens, torch.cat((x[0, :5], x[1, :5], x[2])))
    assert torch.equal(bert_padding.pad_input(tokens, indices, 3, 6)[:2, :5], x[:2, :5])
    with pytest.raises(ValueError, match=r"attention_mask_in_length has shape \(3, 6, 1\)"):
        bert_padding.unpad_input_for_concatenated_sequences(x, lengths[..., None])


def test_empty_batches_and_wrong_masks() -> None:
    tokens, _, starts, longest, _ = bert_padding.unpad_input(torch.ones(0, 3, 2), torch.ones(0, 3))
    assert (tokens.shape, starts.tolist(), longest) == ((0, 2), [0], 0)
    with pytest.raises(ValueError, match=r"unpad_input: attention_mask has shape \(2, 4\)"):
        bert_padding.unpad_input(torch.ones(2, 3, 2), torch.ones(2, 4))
    with pytest.raises(ValueError, match="unpad_input: unused_mask has shape"):
        bert_padding.unpad_input(torch.ones(2, 3, 2), torch.ones(2, 3), torch.ones(3))


@pytest.mark.parametrize("kind", ["right", "left"])
def test_a_padded_batch_by_packed_pieces(kind: str) -> None:
    """As models use it: unpad, attend to each text, pad; every text as if it were alone."""
    mask = mask_of(kind)
    qkv = randn(4, 8, 3, 2, 16)
    tokens, indices, starts, longest, _ = bert_padding.unpad_input(qkv, mask)
    out = flash_attn.flash_attn_varlen_qkvpacked_func(tokens, starts, longest, causal=True)
    padded = bert_padding.pad_input(out, indices, 4, 8)
    for n in range(4):
        own = flash_attn.flash_attn_qkvpacked_func(qkv[None, n, mask[n]], causal=True)[0]
        assert torch.equal(padded[n, mask[n]], own)
    assert float(padded[~mask].abs().max()) == 0
