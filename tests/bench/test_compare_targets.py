"""What each case is meant to reach, and by how much it may be missed."""

from __future__ import annotations

import pytest

from benchmarks.compare import targets
from regard.bench.cases import CASES
from small_cases import case_named


def test_every_target_belongs_to_a_case() -> None:
    names = {case.name for case in CASES} | {"option-score-mod"}  # compiled by Numba, where that is
    assert set(targets._WIDEST) <= names
    assert set(targets._AVX2) <= names
    assert set(targets._OPTIONS) <= names


@pytest.mark.parametrize(
    ("name", "isa", "seconds", "baseline", "percent", "missed"),
    [
        ("full-1k-d64", "avx512", 1e-3, None, 90.0, ""),
        ("full-1k-d64", "avx512", 1e-3, None, 88.5, "by 1.5 points"),
        ("full-1k-d64", "avx2", 1e-3, None, 88.5, ""),
        ("mask-random-1k-d64", "avx512", 1.15e-3, 1e-3, 50.0, ""),
        ("mask-random-1k-d64", "avx512", 2.30e-3, 1e-3, 50.0, "by 100 %"),
        ("option-softcap", "avx2", 1.35e-3, 1e-3, 50.0, ""),
        ("option-softcap", "generic", 2.70e-3, 1e-3, 50.0, "by 100 %"),
        ("blocks-25", "avx512", 0.31e-3, 1e-3, 50.0, ""),
        ("blocks-25", "avx512", 0.3750e-3, 1e-3, 50.0, "by 20 %"),
        ("bf16-1k-d64", "avx512", 1.07e-3, 1e-3, 50.0, ""),
        ("f16-4k-d64-causal", "avx2", 1.29e-3, 1.2e-3 * 0.93, 50.0, "by 7 %"),
        ("decode-4k-d128-gqa4", "avx2", 1e-3, None, 85.0, ""),
        ("decode-4k-d128-gqa4", "generic", 1e-3, None, 71.0, "by 14.0 points"),
        ("decode-8x12-1k-d64-bf16", "avx2", 0.6e-3, 1e-3, 85.0, ""),
        ("decode-8x12-1k-d64-int8", "avx2", 1e-3, 1e-3, 85.0, "bfloat16 is faster"),
        (
            "decode-8x-4k-d128-gqa4-f16",
            "avx2",
            2e-3,
            1e-3,
            40.0,
            "by 45.0 points and float32 is faster",
        ),
        ("backward-4k-d128", "avx512_bf16", 1e-3, None, 78.0, ""),
        ("backward-1k-d64-causal", "avx512", 1e-3, None, 69.0, "by 1.0 points"),
        ("backward-one-head-8k-d64", "avx2", 1e-3, None, 72.0, ""),
        ("backward-dropout", "avx512", 2.70e-3, 1e-3, 50.0, "by 100 %"),
        ("backward-bias", "avx512", 1.5e-3, 1e-3, 50.0, ""),
        ("smallest-call", "avx2", 2.0e-6, 0.6e-6, 0.0, ""),
        ("smallest-call", "avx2", 2.5e-6, 0.6e-6, 0.0, "by 0.40 µs"),
        ("smallest-call", "avx2", 4.0e-6, 3.0e-6, 0.0, "by 1.00 µs"),
    ],
)
def test_targets(
    name: str, isa: str, seconds: float, baseline: float | None, percent: float, missed: str
) -> None:
    verdict = targets.judge(case_named(name), targets.Setting(isa), seconds, baseline, percent)
    assert verdict is not None
    assert verdict.missed == missed
    assert verdict.met == (missed == "")


@pytest.mark.parametrize(
    ("name", "threads", "last_cache", "percent"),
    [
        ("decode-8x-4k-d128-gqa4", 1, 0, 85),
        ("decode-8x-4k-d128-gqa4", 2, 1 << 28, 70),
        ("decode-8x-4k-d128-gqa4-f16", 1, 0, 65),
        ("decode-8x-4k-d128-gqa4-f16", 2, 0, 85),
        ("decode-8x-4k-d128-gqa4-bf16", 1, 1 << 28, 70),
        ("decode-8x-4k-d128-gqa4-int8", 2, 0, 70),
        ("decode-8x-4k-d128-gqa4-int8", 1, 0, None),
        ("decode-8x-4k-d128-gqa4-int8", 2, 1 << 28, None),
    ],
)
def test_decode_is_held_to_what_it_reads_from(name, threads, last_cache, percent) -> None:
    setting = targets.Setting("avx512", threads, last_cache)
    assert targets.bandwidth_target(case_named(name), setting) == percent
    larger = None if name.endswith("gqa4") else 2.0
    verdict = targets.judge(case_named(name), setting, 1.0, larger, 64.9)
    assert verdict is not None
    assert verdict.met == (percent is None)


@pytest.mark.parametrize(("name", "limit"), [("window-512-of-4k", 1.2), ("backward-window", 1.35)])
def test_window_is_judged_by_the_pairs_it_sees(name: str, limit: float) -> None:
    case = case_named(name)
    share = case.pairs / (4096 * 4096 / 2)
    for factor, met in ((0.99 * limit, True), (1.01 * limit, False)):
        verdict = targets.judge(case, targets.Setting("avx512"), share * factor, 1.0, 50.0)
        assert verdict is not None
        assert verdict.met == met


@pytest.mark.parametrize(("percent", "met"), [(81.0, True), (79.0, False)])
def test_bfloat16_is_held_to_dot_products_where_it_is_multiplied(percent, met) -> None:
    verdict = targets.judge(
        case_named("bf16-1k-d64"), targets.Setting("avx512_bf16"), 1.0, 1.0, percent
    )
    assert verdict is not None
    assert verdict.met == met


def test_cases_without_a_target_only_inform() -> None:
    assert (
        targets.judge(case_named("option-cosine"), targets.Setting("avx512"), 1.0, 1.0, 1.0) is None
    )
    assert (
        targets.judge(case_named("full-1k-d64"), targets.Setting("generic"), 1.0, None, 1.0) is None
    )
