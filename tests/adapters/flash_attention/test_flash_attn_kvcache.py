"""A cache that is added to in place, then attended to: by the definition, over their grid."""
# ruff: noqa: E402 (what is imported after PyTorch needs it)

from __future__ import annotations

import random
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from flash_attn_by_definition import TOLERANCE, check, element
from flash_attn_grids import DTYPES, HEADS, HEADS_K, named, randn, sampled, settings

from regard.flash_attn import flash_attn_with_kvcache

BATCH = 2
LENGTHS = ((1, 128), (1, 339), (3, 1024), (64, 800), (64, 256), (3, 799), (1, 4096), (128, 128))
CASES = sampled(
    56, pair=LENGTHS, d=(32, 59, 64, 80, 128, 256), dtype=DTYPES, heads_k=tuple(HEADS_K),
    causal=(False, True), local=(False, True), alibi=(False, True), softcap=(0.0, 50.0),
    new=(None, "as queries", "fewer"), rotary=(None, 0.5, 1.0), interleaved=(False, True),
    place=("rows", "chosen rows", "pages"), leftpad=(False, True), num_splits=(0, 1, 4),
)  # fmt: skip


def turned(x: Any, positions: list[int], angle: Any, interleaved: bool) -> Any:
    """Rotary embedding of (seqlen, heads, head_dim) as products of complex numbers."""
    half = angle.shape[1]
    result = x.clone()
    for row, position in enumerate(positions):
        for n in range(half):
            pair = (2 * n, 2 * n + 1) if interleaved else (n, n + half)
            a, b = x[row, :, pair[0]], x[row, :, pair[1]]
            z = torch.complex(a, b) * torch.polar(angle.new_ones(()), angle[position, n])
            result[row, :, pair[0]], result[row, :, pair[1]] = z.real, z.imag
    return result


def tables_of(angle: Any, dtype: Any) -> tuple[Any, Any]:
    return angle.cos().to(dtype), angle.sin().to(dtype)


class Cache:
    """Keys and values of a case, where its place has them, and the same in plain rows."""

    def __init__(self, case: dict[str, Any], heads_k: int, rows: int) -> None:
        d, dtype, place = case["d"], case["dtype"], case["place"]
        self.options: dict[str, Any] = {}
        generator = torch.Generator().manual_seed(rows)
        if place == "pages":
            size = 256
            blocks = -(-rows // size)
            self.both = randn(2, BATCH * blocks + 1, size, heads_k, d, seed=2, dtype=dtype)
            table = torch.randperm(BATCH * blocks + 1, generator=generator)[: BATCH * blocks]
            self.table = table.reshape(BATCH, blocks)
            self.options["block_table"] = self.table.int()
            self.rows = blocks * size
        else:
            there = BATCH if place == "rows" else 2 * BATCH
            self.both = randn(2, there, rows, heads_k, d, seed=2, dtype=dtype)
            self.table = torch.arange(BATCH)[:, None]
            if place == "chosen rows":
                self.table = torch.randperm(there, generator=generator)[:BATCH, None]
                self.options["cache_batch_idx"] = self.table[:, 0].int()
            self.rows = rows

    def plain(self) -> Any:
        """Keys and values, (2, batch, rows, heads, dim), by the table."""
        return self.both[:, self.table].flatten(2, 3)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_grid(case: dict[str, Any]) -> None:
    generator = random.Random(str(case))
    queries, rows = case["pair"]
    d, dtype, heads_k = case["d"], case["dtype"], HEADS_K[case["heads_k"]]
    cache = Cache(case, heads_k, rows)
    q = randn(BATCH, queries, HEADS, d, dtype=dtype)
    added = {None: 0, "as queries": queries, "fewer": generator.randint(1, queries)}[case["new"]]
    least, most = (0, rows - max(added, queries)) if added else (1, rows)
    lengths = [generator.randint(least, most) for _ in range(BATCH)]
    theirs, ours = settings(case, BATCH, rows)
    slopes = ours.pop("slopes")
    given = dict(cache.options, num_splits=case["num_splits"], **theirs)
    new = randn(2, BATCH, added, heads_k, d, seed=3, dtype=dtype) if added else (None, None)
    half = int((case["rotary"] or 0) * d) // 2
    angle = None
    if added and half:
        turns = max(lengths) + max(added, queries)
        angle = 6.28 * torch.rand(turns, half, generator=torch.Generator().manual_seed(4)).double()
        given["rotary_cos"], given["rotary_sin"] = tables_of(angle, dtype)
        given["rotary_interleaved"] = case["interleaved"]
    leftpad = [generator.randint(0, n) for n in lengths] if case["leftpad"] else [0] * BATCH
    if case["leftpad"]:
        given["cache_leftpad"] = torch.tensor(leftpad, dtype=torch.int32)

    before = cache.both.clone()
    want_cache = cache.plain().double()
    out, lse = flash_attn_with_kvcache(
        q, *cache.both, *new, cache_seqlens=torch.tensor(lengths, dtype=torch.int32),
        return_softmax_lse=True, **given,
    )  # fmt: skip
    assert (out.shape, out.dtype, lse.dtype) == (q.shape, dtype, torch.float32)
    for n, length in enumerate(lengths):
        own_q, end = q[n].double(), length + added
        if added:
            own = [x[n].double() for x in new]
            if angle is not None:
                each = case["causal"] or case["local"]
                at = [length + i if each else length for i in range(queries)]
                own_q = turned(own_q, at, angle, case["interleaved"])
                own[0] = turned(own[0], list(range(length, end)), angle, case["interleaved"])
            want_cache[:, n, length:end] = torch.stack(own)
        k, v = want_cache[:, n, :end]
        own_slopes = None if slopes is None else slopes[n]
        want, want_lse, _ = element(own_q, k, v, slopes=own_slopes, first_key=leftpad[n], **ours)
        # Cosines, sines and turned keys are rounded to the dtype, which scores see.
        rounding = 1 if angle is None else 4
        check(out[n], want, relative_to=rounding * float(v.abs().max()))
        seen = want_lse.isfinite()
        assert torch.equal(lse[n].isposinf(), ~seen)
        size = float(want_lse[seen].abs().max()) if seen.any() else 0.0
        score = TOLERANCE[torch.float32] if angle is None else 4 * TOLERANCE[dtype]
        torch.testing.assert_close(lse[n].double(), want_lse, rtol=0, atol=score * max(size, 4))
    got_cache = cache.plain().double()
    tolerance = 4 * TOLERANCE[dtype] if angle is not None else 0
    torch.testing.assert_close(got_cache, want_cache, rtol=tolerance, atol=tolerance)
    assert torch.equal(got_cache[1], want_cache[1])
    changed = (cache.both != before).any(-1).any(-1).sum()
    assert changed == 2 * BATCH * added  # and nothing else, in rows of others or beyond


def test_one_token_after_the_other_is_the_whole_text() -> None:
    from regard.flash_attn import flash_attn_func

    q, k, v = (randn(2, 12, heads, 16, seed=heads) for heads in (4, 2, 1))
    v = v.expand(-1, -1, 2, -1)
    caches = torch.zeros(2, 2, 20, 2, 16)
    steps = [
        flash_attn_with_kvcache(
            q[:, n : n + 1], *caches, k[:, n : n + 1], v[:, n : n + 1], cache_seqlens=n, causal=True
        )
        for n in range(12)
    ]
    torch.testing.assert_close(torch.cat(steps, 1), flash_attn_func(q, k, v, causal=True))
    assert torch.equal(caches[0, :, :12], k)
    assert float(caches[:, :, 12:].abs().max()) == 0


def test_a_cache_without_lengths_is_full_and_may_have_more_rows() -> None:
    q, (k, v) = randn(2, 3, 4, 16), randn(2, 5, 9, 2, 16)
    out = flash_attn_with_kvcache(q, k, v, causal=True)
    assert torch.equal(out, flash_attn_with_kvcache(q, k, v, cache_seqlens=9, causal=True))
    for n in range(2):
        want, _, _ = element(*(x[n].double() for x in (q, k, v)), causal=True)
        check(out[n], want, torch.float32)


def test_entries_of_a_table_that_are_not_reached_may_name_no_page() -> None:
    q, pages = randn(2, 1, 4, 16), randn(3, 8, 2, 16)
    table = torch.tensor([[2, -1], [0, 9]], dtype=torch.int32)
    out = flash_attn_with_kvcache(q, pages, pages, cache_seqlens=8, block_table=table)
    rows = torch.tensor([2, 0], dtype=torch.int32)
    assert torch.equal(flash_attn_with_kvcache(q, pages, pages, cache_batch_idx=rows), out)


def test_no_gradients_and_caches_that_are_parameters() -> None:
    q = randn(1, 1, 2, 8).requires_grad_()
    k_cache, v_cache = (torch.zeros(1, 4, 2, 8, requires_grad=True) for _ in range(2))
    new = randn(1, 1, 2, 8)
    out = flash_attn_with_kvcache(q, k_cache, v_cache, new, new, cache_seqlens=1)
    assert not out.requires_grad
    assert torch.equal(k_cache[:, 1:2].detach(), new)


def test_nothing_is_written_when_an_argument_does_not_fit() -> None:
    q, new = randn(2, 1, 4, 16), randn(2, 1, 2, 16)
    k_cache, v_cache = torch.zeros(2, 2, 8, 2, 16)
    for wrong in (
        {"cache_seqlens": 8},
        {"cache_seqlens": 3, "alibi_slopes": torch.ones(3)},
        {"cache_seqlens": 3, "window_size": 4},
        {"cache_seqlens": 3, "rotary_cos": torch.ones(2, 8), "rotary_sin": torch.ones(2, 8)},
        {"cache_seqlens": 3, "cache_batch_idx": torch.tensor([0, 2], dtype=torch.int32)},
    ):
        with pytest.raises((TypeError, ValueError), match=r"^flash_attn_with_kvcache: "):
            flash_attn_with_kvcache(q, k_cache, v_cache, new, new, **wrong)
    assert float(k_cache.abs().max()) == float(v_cache.abs().max()) == 0
