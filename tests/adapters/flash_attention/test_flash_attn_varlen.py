"""Packed pieces: values, LSE and gradients by the definition, piece by piece."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

import random
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_by_definition import check, check_gradients, element
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

BATCH = 4
CASES = sampled(
    30, pair=PAIRS + DECODED, d=DIMS, dtype=DTYPES, heads_k=tuple(HEADS_K), causal=(False, True),
    local=(False, True), alibi=(False, True), softcap=(0.0, 50.0), packed=(False, True),
)  # fmt: skip
PACKED = sampled(
    10, length=(97, 128, 200, 257), d=DIMS, dtype=DTYPES, causal=(False, True),
    local=(False, True), alibi=(False, True),
)  # fmt: skip
PAGED = sampled(
    12, pair=DECODED, d=DIMS, dtype=DTYPES, causal=(False, True), local=(False, True),
    page_size=(16, 256, 512),
)  # fmt: skip


def starts_of(longest: int, seed: int) -> list[int]:
    """Cumulative lengths of pieces, the longest among them, and one that is empty."""
    generator = random.Random(seed)
    lengths = [
        longest,
        0,
        generator.randint(1, longest),
        generator.randint(max(1, longest - 20), longest),
    ]
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts


def by_piece(
    q: Any, k: Any, v: Any, starts_q: list[int], starts_k: list[int], options: dict[str, Any]
) -> tuple[Any, Any]:
    outs, lses = [], []
    slopes = options.pop("slopes", None)
    for n in range(len(starts_q) - 1):
        rows = slice(starts_q[n], starts_q[n + 1])
        keys = slice(starts_k[n], starts_k[n + 1])
        own = None if slopes is None else slopes[n]
        out, lse, _ = element(q[rows], k[keys], v[keys], slopes=own, **options)
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs), torch.cat(lses, 1)


def check_call(
    function: Any,
    given: list[Any],
    starts: list[list[int]],
    longest: list[int],
    case: dict[str, Any],
) -> None:
    split = {4: lambda x: list(x.unbind(1)), 3: lambda x: [x]}
    wide = [x.detach().double().requires_grad_() for x in given]
    q, k, v = (view for x in wide for view in split[x.ndim](x))
    theirs, ours = settings(case, BATCH, longest[-1])
    tensors = [torch.tensor(x, dtype=torch.int32) for x in starts]
    out, lse, nothing = function(*given, *tensors, *longest, **theirs, return_attn_probs=True)
    want, want_lse = by_piece(q, k, v, starts[0], starts[-1], ours)
    check(out, want)
    check(lse, want_lse, torch.float32)
    assert out.is_contiguous()
    assert nothing.shape == (0,)
    dout = randn(*out.shape, seed=9, dtype=out.dtype)
    got = torch.autograd.grad(out, given, dout)
    check_gradients(got, torch.autograd.grad(want, wide, dout.double()), out.dtype)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_grid(case: dict[str, Any]) -> None:
    (queries, keys), d, dtype = case["pair"], case["d"], case["dtype"]
    heads_k = HEADS_K[case["heads_k"]]
    starts = [starts_of(queries, 1), starts_of(keys, 2)]
    longest = [queries, keys]
    q = randn(starts[0][-1], HEADS, d, dtype=dtype).requires_grad_()
    kv = randn(starts[1][-1], 2, heads_k, d, seed=1, dtype=dtype)
    if case["packed"]:
        function = flash_attn.flash_attn_varlen_kvpacked_func
        check_call(function, [q, kv.requires_grad_()], starts, longest, case)
    else:
        k, v = (x.contiguous().requires_grad_() for x in kv.unbind(1))
        check_call(flash_attn.flash_attn_varlen_func, [q, k, v], starts, longest, case)


@pytest.mark.parametrize("case", PACKED, ids=named)
def test_the_grid_of_qkvpacked(case: dict[str, Any]) -> None:
    starts = starts_of(case["length"], 3)
    qkv = randn(starts[-1], 3, HEADS, case["d"], dtype=case["dtype"]).requires_grad_()
    function = flash_attn.flash_attn_varlen_qkvpacked_func
    check_call(function, [qkv], [starts], [case["length"]], case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_as_many_rows_as_heads(dtype: Any) -> None:
    """Shapes (total, heads, dim) and (heads, total, dim) are then equal."""
    q, k, v = (randn(HEADS, HEADS, 16, seed=n, dtype=dtype).requires_grad_() for n in range(3))
    starts = [[0, 1, 1, 4, 6]] * 2
    check_call(flash_attn.flash_attn_varlen_func, [q, k, v], starts, [3, 3], {"causal": True})


@pytest.mark.parametrize("case", PAGED, ids=named)
def test_keys_in_pages(case: dict[str, Any]) -> None:
    (queries, keys), d, dtype, size = (case[name] for name in ("pair", "d", "dtype", "page_size"))
    starts = [starts_of(queries, 1), starts_of(keys, 2)]
    blocks = -(-keys // size)
    q = randn(starts[0][-1], HEADS, d, dtype=dtype)
    k_pages, v_pages = randn(2, BATCH * blocks, size, 2, d, seed=1, dtype=dtype)
    shuffled = torch.randperm(BATCH * blocks, generator=torch.Generator().manual_seed(0))
    table = shuffled.to(torch.int32).reshape(BATCH, blocks)
    k, v = (
        torch.cat([
            pages[table[n].long()].flatten(0, 1)[: starts[1][n + 1] - starts[1][n]]
            for n in range(BATCH)
        ])
        for pages in (k_pages, v_pages)
    )  # fmt: skip
    theirs, ours = settings(case, BATCH, keys)
    tensors = [torch.tensor(x, dtype=torch.int32) for x in starts]
    out, lse, _ = flash_attn.flash_attn_varlen_func(
        q, k_pages, v_pages, *tensors, queries, keys, block_table=table, return_attn_probs=True,
        **theirs,
    )  # fmt: skip
    want, want_lse = by_piece(*(x.double() for x in (q, k, v)), *starts, ours)
    check(out, want)
    check(lse, want_lse, torch.float32)
    k_pages.requires_grad_()
    out = flash_attn.flash_attn_varlen_func(
        q, k_pages, v_pages, *tensors, queries, keys, block_table=table
    )
    with pytest.raises(NotImplementedError, match="no gradients with block_table"):
        out.sum().backward()


def test_pieces_are_bitwise_what_they_are_alone() -> None:
    starts = torch.tensor([0, 3, 10, 10, 17], dtype=torch.int32)
    q, k, v = (randn(17, 4, 16, seed=n) for n in range(3))
    out = flash_attn.flash_attn_varlen_func(q, k, v, starts, starts, 7, 7, causal=True)
    for begin, end in ((0, 3), (3, 10), (10, 17)):
        own = (x[None, begin:end] for x in (q, k, v))
        assert torch.equal(out[begin:end], flash_attn.flash_attn_func(*own, causal=True)[0])
    wide = starts.long()
    again = flash_attn.flash_attn_varlen_func(q, k, v, wide, wide, 99, 99, causal=True)
    assert torch.equal(again, out)
    empty = torch.zeros(1, dtype=torch.int32)
    nothing = flash_attn.flash_attn_varlen_func(q[:0], k[:0], v[:0], empty, empty, 0, 0)
    assert nothing.shape == (0, 4, 16)
