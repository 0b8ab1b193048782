"""Dropout: how much of it, that S_dmask says which, that seeds and checkpoints draw it again."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_by_definition import batch, check, check_gradients, element
from flash_attn_grids import DTYPES, HEADS, named, randn, sampled, settings

from regard.flash_attn import flash_attn_func, flash_attn_varlen_func

SHARE = 0.17  # flash-attn's tests have this
CASES = sampled(
    8, pair=((113, 203), (128, 217), (1, 239), (256, 128)), d=(32, 59, 128), dtype=DTYPES,
    causal=(False, True), local=(False, True), alibi=(False, True), softcap=(0.0, 50.0),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=named)
def test_values_and_gradients_with_the_weights_that_are_kept(case: dict[str, Any]) -> None:
    queries, keys = case["pair"]
    given = [
        randn(2, n, heads, case["d"], seed=n, dtype=case["dtype"]).requires_grad_()
        for n, heads in ((queries, HEADS), (keys, 3), (keys, 3))
    ]
    theirs, ours = settings(case, 2, keys)
    torch.manual_seed(1)
    out, lse, signed = flash_attn_func(*given, SHARE, **theirs, return_attn_probs=True)
    wide = [x.detach().double().requires_grad_() for x in given]
    kept = ~signed.signbit()
    want, want_lse, weights = batch(*wide, **ours, kept=kept, dropout=SHARE)
    check(signed.abs(), weights.detach())
    check(out, want)
    check(lse, want_lse, torch.float32)
    dout = randn(*out.shape, seed=9, dtype=out.dtype)
    got = torch.autograd.grad(out, given, dout)
    check_gradients(got, torch.autograd.grad(want, wide, dout.double()), out.dtype)


@pytest.mark.parametrize("share", [0.05, SHARE, 0.9])
def test_the_share_that_is_dropped(share: float) -> None:
    q, k, v = (randn(4, n, HEADS, 32, seed=n) for n in (128, 256, 256))
    torch.manual_seed(0)
    _, _, signed = flash_attn_func(q, k, v, share, return_attn_probs=True)
    dropped = signed < 0
    # Five standard deviations of a binomial distribution, of all weights and of each head's.
    for part in (dropped, *dropped.unbind(1)):
        allowed = 5 * (share * (1 - share) / part.numel()) ** 0.5
        assert abs(float(part.float().mean()) - share) < allowed
    out = torch.stack([flash_attn_func(q, k, v, share) for _ in range(100)]).mean(0)
    error = float((out - flash_attn_func(q, k, v)).abs().max())
    assert error < 0.5 * (share / (1 - share)) ** 0.5  # the mean is that without dropout


def test_packed_pieces_draw_by_their_number() -> None:
    starts = torch.tensor([0, 40, 40, 60], dtype=torch.int32)
    slopes = torch.rand(3, HEADS, generator=torch.Generator().manual_seed(0))
    q, k, v = (randn(60, HEADS, 16, seed=n).requires_grad_() for n in range(3))
    torch.manual_seed(3)
    out, _, signed = flash_attn_varlen_func(
        q, k, v, starts, starts, 40, 50, SHARE, alibi_slopes=slopes, return_attn_probs=True
    )
    assert signed.shape == (3, HEADS, 40, 50)
    for n, (begin, end) in enumerate(((0, 40), (40, 40), (40, 60))):
        size = end - begin
        part = signed[n, :, :size, :size]
        own = (x[begin:end].double() for x in (q, k, v))
        want, _, weights = element(
            *own, kept=~part.signbit(), dropout=SHARE, slopes=slopes[n].double()
        )
        check(part.abs(), weights.detach())
        check(out[begin:end], want)
        assert float(signed[n, :, size:].abs().sum() + signed[n, :, :, size:].abs().sum()) == 0


def test_seeds_and_checkpoints_draw_the_same() -> None:
    from torch.utils.checkpoint import checkpoint

    q = randn(2, 50, 4, 16).requires_grad_()

    def call(x: Any) -> Any:
        return flash_attn_func(x, x, x, dropout_p=SHARE)

    torch.manual_seed(0)
    first = call(q)
    assert not torch.equal(call(q), first)
    (want,) = torch.autograd.grad(first.square().sum(), q)
    torch.manual_seed(0)
    again = checkpoint(call, q, use_reentrant=False)
    assert torch.equal(again, first)
    (got,) = torch.autograd.grad(again.square().sum(), q)
    assert torch.equal(got, want)
    state = torch.get_rng_state()
    flash_attn_func(q, q, q)
    assert torch.equal(torch.get_rng_state(), state)  # without dropout nothing is drawn
