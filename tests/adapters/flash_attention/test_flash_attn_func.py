"""Batches of one length: values, LSE and gradients by the definition, over flash-attn's grid."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_by_definition import batch, check, check_gradients
from flash_attn_grids import (
    DECODED,
    DIMS,
    DTYPES,
    HEADS,
    HEADS_K,
    PAIRS,
    named,
    randn,
    sampled,
    settings,
)

from regard import flash_attn

BATCH = 2
CASES = sampled(
    36, pair=PAIRS + DECODED, d=DIMS, dtype=DTYPES, heads_k=tuple(HEADS_K), causal=(False, True),
    local=(False, True), alibi=(False, True), softcap=(0.0, 50.0), packed=(False, True),
)  # fmt: skip
PACKED = sampled(
    12, length=(97, 128, 200, 384), d=DIMS, dtype=DTYPES, causal=(False, True),
    local=(False, True), alibi=(False, True),
)  # fmt: skip


def check_call(function: Any, given: list[Any], case: dict[str, Any]) -> None:
    """Output, LSE and gradients, for inputs apart or packed, against the definition."""
    packed = {5: lambda x: list(x.unbind(2)), 4: lambda x: [x]}
    wide = [x.detach().double().requires_grad_() for x in given]
    q, k, v = (view for x in wide for view in packed[x.ndim](x))
    theirs, ours = settings(case, BATCH, k.shape[1])
    out, lse, nothing = function(*given, **theirs, return_attn_probs=True)
    want, want_lse, _ = batch(q, k, v, **ours)
    check(out, want)
    check(lse, want_lse, torch.float32)
    assert out.is_contiguous()
    assert out.dtype == given[0].dtype
    assert (lse.dtype, nothing.shape) == (torch.float32, (0,))
    dout = randn(*out.shape, seed=9, dtype=out.dtype)
    got = torch.autograd.grad(out, given, dout)
    check_gradients(got, torch.autograd.grad(want, wide, dout.double()), out.dtype)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_grid(case: dict[str, Any]) -> None:
    (queries, keys), d, dtype = case["pair"], case["d"], case["dtype"]
    heads_k = HEADS_K[case["heads_k"]]
    q = randn(BATCH, queries, HEADS, d, dtype=dtype).requires_grad_()
    kv = randn(BATCH, keys, 2, heads_k, d, seed=1, dtype=dtype)
    if case["packed"]:
        check_call(flash_attn.flash_attn_kvpacked_func, [q, kv.requires_grad_()], case)
    else:
        k, v = (x.contiguous().requires_grad_() for x in kv.unbind(2))
        check_call(flash_attn.flash_attn_func, [q, k, v], case)


@pytest.mark.parametrize("case", PACKED, ids=named)
def test_the_grid_of_qkvpacked(case: dict[str, Any]) -> None:
    qkv = randn(BATCH, case["length"], 3, HEADS, case["d"], dtype=case["dtype"]).requires_grad_()
    check_call(flash_attn.flash_attn_qkvpacked_func, [qkv], case)


def test_causal_masks_are_those_of_the_documentation() -> None:
    """The two examples of the docstrings: which keys got a weight."""
    for queries, keys, want in (
        (2, 5, [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]),
        (5, 2, [[0, 0], [0, 0], [0, 0], [1, 0], [1, 1]]),
    ):
        q = torch.zeros(1, queries, 1, keys)
        k, v = torch.zeros(1, keys, 1, keys), torch.eye(keys)[None, :, None]
        out, lse, _ = flash_attn.flash_attn_func(q, k, v, causal=True, return_attn_probs=True)
        assert (out[0, :, 0] > 0).int().tolist() == want
        count = torch.tensor(want).sum(-1)
        assert torch.equal(lse[0, 0].isposinf(), count == 0)
        torch.testing.assert_close(lse[0, 0][count > 0], count[count > 0].float().log())


@pytest.mark.parametrize("scale", [0.0, 0.3, -1.0])
def test_scale_and_float64(scale: float) -> None:
    q, k, v = (randn(2, n, 4, 16, seed=n, dtype=torch.float64) for n in (9, 13, 13))
    out, lse, _ = flash_attn.flash_attn_func(
        q, k, v, softmax_scale=scale, softcap=3.0, return_attn_probs=True
    )
    want, want_lse, _ = batch(q, k, v, scale=scale, softcap=3.0)
    check(out, want)
    check(lse, want_lse)
    assert lse.dtype == torch.float64


def test_a_negative_softcap_and_slopes_of_heads() -> None:
    q, k, v = (randn(2, n, 4, 16, seed=n) for n in (9, 13, 13))
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.0])
    out = flash_attn.flash_attn_func(q, k, v, softcap=-1.0, alibi_slopes=slopes)
    check(out, batch(*(x.double() for x in (q, k, v)), slopes=slopes)[0], torch.float32)


def test_arguments_by_position_are_in_flash_attns_order() -> None:
    q, k, v = (randn(2, n, 4, 16, seed=n) for n in (9, 13, 13))
    slopes = torch.rand(4, generator=torch.Generator().manual_seed(0))
    by_position = 0.0, 0.2, True, (4, 0), 9.0, slopes, True, False
    out = flash_attn.flash_attn_func(q, k, v, *by_position)
    named_ = {"scale": 0.2, "causal": True, "window": (4, 0), "softcap": 9.0, "slopes": slopes}
    check(out, batch(*(x.double() for x in (q, k, v)), **named_)[0], torch.float32)
    kv = torch.stack((k, v), 2)
    assert torch.equal(flash_attn.flash_attn_kvpacked_func(q, kv, *by_position), out)
    qkv = torch.stack((k, k, v), 2)
    own = flash_attn.flash_attn_func(k, k, v, *by_position)
    assert torch.equal(flash_attn.flash_attn_qkvpacked_func(qkv, *by_position), own)


def test_strided_tensors_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import regard

    seen: list[Any] = []
    original = regard.attention

    def spy(*arrays: Any, out: Any, **options: Any) -> Any:
        seen.extend((*arrays, out))
        return original(*arrays, out=out, **options)

    monkeypatch.setattr(regard, "attention", spy)
    for dtype in DTYPES:
        seen.clear()
        qkv = randn(2, 9, 3, 4, 8, dtype=dtype)
        out = flash_attn.flash_attn_qkvpacked_func(qkv)
        places = [x.data_ptr() for x in (*qkv.unbind(2), out)]
        assert [x.ctypes.data for x in seen] == places
        heads_first = randn(2, 4, 9, 8, dtype=dtype).transpose(1, 2)
        expected = flash_attn.flash_attn_func(*[heads_first.contiguous()] * 3)
        assert torch.equal(flash_attn.flash_attn_func(*[heads_first] * 3), expected)


def test_a_value_dim_of_its_own_and_nothing_to_attend_to() -> None:
    q, k, v = randn(2, 5, 4, 16), randn(2, 7, 2, 16), randn(2, 7, 2, 24)
    assert flash_attn.flash_attn_func(q, k, v).shape == (2, 5, 4, 24)
    q.requires_grad_()
    out, lse, _ = flash_attn.flash_attn_func(q, k[:, :0], v[:, :0], return_attn_probs=True)
    assert bool((out == 0).all() and lse.isposinf().all())
    assert float(torch.autograd.grad(out.sum(), q)[0].abs().max()) == 0
    assert flash_attn.flash_attn_func(q[:, :0], k, v).shape == (2, 0, 4, 24)
    assert flash_attn.flash_attn_func(q[:0], k[:0], v[:0]).shape == (0, 5, 4, 24)
