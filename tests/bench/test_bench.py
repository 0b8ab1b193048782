"""The benchmark's own machinery: what it counts, checks, writes and draws. Nothing is timed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import regard
from regard import reference
from regard.bench import accuracy, backward, options, runner, targets, timing
from regard.bench.cases import CASES, Case, Inputs, make_inputs, options_of
from regard.bench.report import OWN, Report
from regard.bench.rivals import RIVALS, Rival, Unsupported
from regard.bench.rivals.torch_rival import Torch

FULL = Case("full", "full", 2, 4, 2, 40, 40, 8)
SMALL = {
    "full": FULL,
    "causal": replace(FULL, causal=True, kv_heads=4),
    "causal grouped": replace(FULL, causal=True),
    "window": replace(FULL, group="window", causal=True, window=7),
    "random mask": replace(FULL, group="mask", mask="random", kv_heads=4),
    "padding mask": replace(FULL, group="mask", mask="key_padding", kv_heads=4),
    "bias": replace(FULL, group="mask", bias=True, kv_heads=4),
    "strides": replace(FULL, layout="bnhd"),
    "decode": replace(FULL, length=1),
    "float64": replace(FULL, dtype="float64", kv_heads=4),
    "bfloat16": replace(FULL, group="storage", dtype="bfloat16"),
    "float16 causal": replace(FULL, group="storage", dtype="float16", causal=True, kv_heads=4),
    "decode bfloat16": replace(FULL, group="decode", dtype="bfloat16", length=1),
    "decode float16": replace(FULL, group="decode", dtype="float16", length=1),
    "decode int8": replace(FULL, group="decode", cache="int8", length=1),
}
OPTION = replace(FULL, group="options", causal=True, kv_heads=4)
BLOCKS = replace(FULL, group="options", length=384, key_length=384, option="blocks", density=0.4)
OPTIONS = {
    **{name: replace(OPTION, option=name) for name in options.TITLES if name != "blocks"},
    "bias": replace(OPTION, option="bias", bias=True),
    "grouped": replace(OPTION, option="alibi", kv_heads=2),
    "blocks": BLOCKS,
}
BACKWARD = {
    "full": replace(FULL, group="backward"),
    "causal": replace(FULL, group="backward", causal=True, kv_heads=4),
    "bfloat16": replace(FULL, group="backward", dtype="bfloat16"),
    "window": replace(FULL, group="backward-options", causal=True, window=7, kv_heads=4),
    **{
        name: replace(OPTION, group="backward-options", batch=1, option=name, bias=name == "bias")
        for name in ("softcap", "alibi", "sinks", "dropout", "t5", "relative", "bias", "cosine")
    },
}
FAST = timing.Effort(seconds=0.0, rounds=2, minimum=3)


def draw(case: Case) -> Inputs:
    return make_inputs(case, np.random.default_rng(3))


def oracle(case: Case, inputs: Inputs) -> np.ndarray:
    words = options_of(case, inputs)
    output: np.ndarray = reference.attention(inputs.query, inputs.key, inputs.value, **words)
    return output


# --- what is counted


def test_flops_of_a_full_problem() -> None:
    assert FULL.flops == 4 * 2 * 4 * 40 * 40 * 8


def test_causal_is_half_of_full() -> None:
    assert replace(FULL, causal=True).flops == FULL.flops / 2


def test_gradients_are_five_products_more() -> None:
    assert BACKWARD["causal"].flops == 3.5 * SMALL["causal"].flops


@pytest.mark.parametrize("width", [1, 7, 39, 40, 100])
def test_window_is_counted_exactly(width: int) -> None:
    i, j = np.indices((40, 40))
    seen = np.count_nonzero((j <= i) & (j > i - width))
    assert replace(FULL, causal=True, window=width).pairs == seen


@pytest.mark.parametrize(("density", "tiles"), [(0.5, 4), (0.4, 4), (0.1, 3), (1.0, 9)])
def test_blocks_are_counted_exactly(density: float, tiles: int) -> None:
    case = replace(BLOCKS, density=density)
    mask = draw(case).more["mask"].to_dense()
    assert mask.shape == (2, 4, 384, 384)
    assert mask.any(axis=-1).all()
    assert (np.count_nonzero(mask, axis=(2, 3)) == case.pairs).all()
    assert case.pairs == tiles * 128**2


@pytest.mark.parametrize("mask", ["padding mask", "random mask"])
def test_padding_is_not_counted_and_random_masks_are(mask: str) -> None:
    drawn = draw(SMALL[mask]).mask
    assert drawn is not None
    seen = np.broadcast_to(drawn, (2, 4, 40, 40))
    counted = np.count_nonzero(seen) / 8 if mask == "padding mask" else 40 * 40
    assert SMALL[mask].pairs == counted


def test_bytes_of_a_cache() -> None:
    rows = 2 * 2 * 2 * 40  # of keys and values
    assert SMALL["decode"].bytes == rows * 8 * 4
    assert SMALL["decode bfloat16"].bytes == SMALL["decode float16"].bytes == rows * 8 * 2
    assert SMALL["decode int8"].bytes == rows * (8 + 4)
    drawn = draw(SMALL["decode int8"])
    held = [drawn.key, drawn.value, drawn.more["key_scales"], drawn.more["value_scales"]]
    assert sum(x.nbytes for x in held) == SMALL["decode int8"].bytes


def test_causal_cases_are_square() -> None:
    with pytest.raises(ValueError, match="must be square"):
        replace(FULL, causal=True, length=10)


def test_options_are_causal_and_block_masks_are_not() -> None:
    with pytest.raises(ValueError, match="options are causal"):
        replace(OPTION, option="softcap", causal=False)
    with pytest.raises(ValueError, match="options are causal"):
        replace(BLOCKS, causal=True)
    with pytest.raises(ValueError, match="of whole tiles"):
        replace(BLOCKS, length=40, key_length=40)
    with pytest.raises(ValueError, match="gradients by options add up"):
        replace(BACKWARD["sinks"], batch=2)


def test_every_option_has_a_case() -> None:
    cases = [case for case in CASES if case.group == "options"]
    assert {case.option for case in cases} == set(options.TITLES)
    assert [case.density for case in cases if case.option == "blocks"] == [0.5, 0.25, 0.1]


def test_case_names_are_unique_and_all_have_a_shape() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.title for case in CASES} >= {
        "1x8x1024x64",
        "1x16/4x2048x128 causal",
        "1x8x1024x64 BNHD strides",
        "1x8x4096x64 window 128",
        "1x32/8x1:4096x128",
        "8x32/8x1:4096x128 int8 cache",
        "1x8x4096x64 causal bfloat16",
        "1x8x4096x64 causal T5 bias",
        "1x8x4096x64 block mask 25 %",
        "1x8x4096x128 causal gradients",
        "1x1x8192x64 gradients",
        "1x8x1024x64 causal softcap gradients",
        "1x1x4x2",
    }


def test_every_target_belongs_to_a_case() -> None:
    names = {case.name for case in CASES}
    assert set(targets._WIDEST) <= names
    assert set(targets._AVX2) <= names
    assert set(targets._OPTIONS) <= names


def test_inputs_have_the_layout_and_dtype_of_the_case() -> None:
    strided = draw(SMALL["strides"]).query
    assert strided.shape == (2, 4, 40, 8)
    assert strided.transpose(0, 2, 1, 3).flags.c_contiguous
    assert draw(SMALL["float64"]).query.dtype == np.float64
    assert draw(FULL).key.shape == (2, 2, 40, 8)
    assert draw(SMALL["bfloat16"]).value.dtype == regard.bfloat16
    assert draw(SMALL["float16 causal"]).query.dtype == np.float16
    eight_bits = draw(SMALL["decode int8"])
    assert eight_bits.query.dtype == np.float32
    assert eight_bits.key.dtype == eight_bits.value.dtype == np.int8
    padding = draw(SMALL["padding mask"]).mask
    assert padding is not None
    assert padding.shape == (2, 1, 1, 40)


# --- the check against the oracle


SINGLE = [name for name in OPTIONS if name != "summary"]


@pytest.mark.parametrize("case", [*SMALL.values(), *map(OPTIONS.__getitem__, SINGLE)])
@pytest.mark.parametrize("sampled", [False, True])
def test_oracle_rows_agree_with_the_whole_oracle(
    case: Case, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = draw(case)
    if sampled:
        monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
        monkeypatch.setattr(accuracy, "BLOCK_ROWS", 5)
    output = oracle(case, inputs)
    assert accuracy.largest_error(case, inputs, output) < 1e-14
    output[-1, -1, -1, -1] += 0.5  # the last row is always among the checked ones
    assert accuracy.largest_error(case, inputs, output) == pytest.approx(0.5)


def test_oracle_rows_notice_a_forgotten_causal_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
    case = SMALL["causal"]
    inputs = draw(case)
    output = oracle(replace(case, causal=False), inputs)
    assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, output))


@pytest.mark.parametrize("name", SINGLE)
def test_oracle_rows_notice_a_forgotten_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "WHOLE_PROBLEM", 0)
    case = OPTIONS[name]
    inputs = draw(case)
    output = oracle(case, replace(inputs, more={}, bias=None))
    assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, output))


@pytest.mark.parametrize("field", [None, "lse", "entropy", "row_max", "top_weights", "pooled"])
def test_oracle_checks_what_a_summary_says(field: str | None) -> None:
    case = OPTIONS["summary"]
    inputs = draw(case)
    summary = runner.own_call(case, inputs, threads=1)()
    if field is not None:
        getattr(summary, field)[-1, -1, -1] += 0.5
    right = accuracy.acceptable(case, accuracy.largest_error(case, inputs, summary))
    assert right == (field is None)
    if field is None:
        summary.column_sums[-1, -1, -1] += 0.5
        assert not accuracy.acceptable(case, accuracy.largest_error(case, inputs, summary))


def test_nan_and_wrong_shape_are_not_acceptable() -> None:
    inputs = draw(FULL)
    for output in (np.full(inputs.query.shape, np.nan), np.zeros((1, 1, 1, 1))):
        assert not accuracy.acceptable(FULL, accuracy.largest_error(FULL, inputs, output))


def whole_gradients(case: Case, inputs: Inputs) -> dict[str, np.ndarray]:
    """Gradients of the whole problem, by the definition."""
    words = options_of(case, inputs)
    if case.bias:
        words["bias"] = inputs.bias
    arrays = (inputs.dout, inputs.query, inputs.key, inputs.value)
    found = reference.gradients(*map(reference.stored, arrays), **words)
    return {name: np.array(x) for name, x in found._asdict().items() if x is not None}


@pytest.mark.parametrize("name", BACKWARD)
@pytest.mark.parametrize("scores", [1 << 20, 200])
def test_oracle_of_parts_agrees_with_that_of_the_whole(
    name: str, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = BACKWARD[name]
    # Of dropout, whole heads: the oracle's counters start at 0.
    monkeypatch.setattr(backward, "SCORES", 40 * 40 if name == "dropout" else scores)
    backward.oracle.cache_clear()
    inputs = draw(case)
    right = whole_gradients(case, inputs)
    assert set(right) == set(backward.wanted(case, inputs))

    def acceptable(**changed: np.ndarray | None) -> bool:
        gradients = regard.Gradients(**{**right, **changed})
        return accuracy.acceptable(case, accuracy.largest_error(case, inputs, gradients))

    assert accuracy.largest_error(case, inputs, regard.Gradients(**right)) < 1e-13
    for field, x in right.items():
        wrong = x.copy()
        wrong.flat[0] += 0.5 * np.abs(x).max()
        for bad in (None, wrong, x[..., :1], np.full_like(x, np.nan)):
            assert not acceptable(**{field: bad}), field


@pytest.mark.parametrize("name", BACKWARD)
def test_own_gradients_are_right(name: str) -> None:
    case = BACKWARD[name]
    inputs = draw(case)
    error = accuracy.largest_error(case, inputs, runner.own_call(case, inputs, threads=1)())
    assert error < (5e-6 if case.dtype == "float32" else 2e-2)
    if case.group == "backward":
        return
    plain = runner.baseline_call(case, inputs, threads=1)
    assert plain is not None
    assert plain[0] == "plain"
    error = accuracy.largest_error(case, inputs, plain[1]())
    assert not accuracy.acceptable(case, error)


# --- timing


def test_contenders_take_turns_by_block() -> None:
    order: list[str] = []
    timings = timing.interleave(
        {name: partial(order.append, name) for name in "ab"},
        replace(FAST, minimum=4),
        between=lambda: order.append("-"),
    )
    blocks = "".join(name for name, _ in itertools.groupby(order))
    assert blocks == "ab-ab-ab"  # warm-ups, then two rounds
    assert {t.samples for t in timings.values()} == {4}


def test_short_calls_are_timed_in_loops_and_long_ones_alone() -> None:
    assert timing._plan(1e-6, FAST).inner == pytest.approx(200, abs=1)
    assert timing._plan(1e-3, FAST).inner == 1


@pytest.mark.parametrize(
    ("seconds", "blocks"), [(1e-3, [75, 75, 75, 75]), (0.1, [2, 3, 2, 3]), (9.0, [1, 2, 2, 2])]
)
def test_samples_are_enough_and_spread_over_the_blocks(seconds: float, blocks: list[int]) -> None:
    plan = timing._plan(seconds, timing.Effort(1.01, rounds=4, minimum=7))
    assert plan.blocks == blocks


# --- a run


@pytest.fixture(scope="module")
def report() -> Report:
    cases = (
        replace(FULL, name="tiny"),
        replace(SMALL["bias"], name="tiny-bias"),
        replace(OPTIONS["cosine"], name="tiny-cosine"),
        replace(OPTIONS["summary"], name="option-summary"),
        replace(BLOCKS, name="tiny-blocks"),
        replace(BACKWARD["window"], name="backward-window"),
        replace(BACKWARD["full"], name="tiny-gradients"),
        replace(SMALL["bfloat16"], name="tiny-bf16"),
        replace(SMALL["decode int8"], name="tiny-int8", key_length=400),
        CASES[-1],
    )
    asked = runner.Options(rivals=("numpy",), seconds=0.001, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        # Whether BLAS can be held to so many threads does not matter to what is tested here.
        patch.setattr("regard.bench.rivals.numpy_rival._limit_blas", lambda threads: True)
        return runner.run(asked, cases)


def test_run_measures_regard_and_its_rival(report: Report) -> None:
    tiny, bias, *more, gradients, half, decode, call = report.rows
    assert report.isa == regard.active_isa()
    assert report.contenders == {OWN: regard.__version__, "numpy": np.__version__}
    for row in (tiny, bias):
        assert set(row.results) == {OWN, "numpy"}
        assert all(row.trusted(name) and row.results[name].seconds > 0 for name in row.results)
        assert row.ceiling > 0
    assert tiny.baseline is None
    assert bias.baseline is not None
    assert bias.baseline.way == "without mask or bias"
    assert gradients.unsupported == {"numpy": "has no gradients"}
    assert gradients.baseline is None
    for row in more:
        assert row.baseline is not None
        assert row.baseline.way == "plain"
        reason = "has no gradients" if row.case.backward else "not measured with this option"
        assert row.unsupported == {"numpy": reason}
    for row, larger in ((half, "in float32"), (decode, "in bfloat16")):
        assert row.baseline is not None
        assert row.baseline.way == larger
        assert row.unsupported == {"numpy": "has no fast products of smaller types"}
    assert half.bandwidth is None
    assert decode.bandwidth is not None
    assert decode.percent() == pytest.approx(100 * decode.gigabytes() / decode.bandwidth)
    assert half.units[OWN] == pytest.approx(half.own.error / (2**-7 * 3), rel=0.6)
    assert decode.units == {}
    assert call.baseline is not None
    assert call.baseline.way == "empty call"
    assert report.wrong() == []


def test_report_survives_json(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    with pytest.raises(ValueError, match="not a bench report"):
        Report.from_json("[]")
    with pytest.raises(ValueError, match="not a bench report"):
        Report.from_json('{"schema": 0, "kind": "bench"}')


def test_report_names_the_machine_and_every_case(report: Report) -> None:
    text = str(report)
    assert report.machine["cpu"] in text
    assert all(row.case.title in text for row in report.rows)
    assert "numpy " + np.__version__ in text


def test_report_says_what_options_cost(report: Report) -> None:
    cosine, summary, blocks = (row for row in report.rows if row.case.group == "options")
    for row in (cosine, summary, blocks):
        assert row.baseline is not None
        assert row.times_plain() == row.own.seconds / row.baseline.seconds
    lines = {
        row.case.option: f"{row.times_plain():.2f}x plain" for row in (cosine, summary, blocks)
    }
    text = str(report)
    assert all(line in text for line in lines.values())
    assert f"for its density, {lines['blocks']}" in text
    window = report.rows[5]
    assert f"a pair, {window.times_plain():.2f}x plain" in text
    assert report.rows[0].times_plain() is None


def test_wrong_result_is_said_loudly(report: Report) -> None:
    row = report.rows[0]
    bad = replace(row, results={**row.results, OWN: replace(row.own, error=0.5)})
    text = str(replace(report, rows=[bad]))
    assert "WRONG RESULT: 2x4/2x40x8" in text


def test_busy_machine_is_noticed(report: Report) -> None:
    row = report.rows[0]
    for seconds, cores, busy in ((2e-3, 1.5, True), (2e-3, 1.9, False), (1e-4, 1.0, False)):
        own = replace(row.own, seconds=seconds, cores=cores)
        changed = replace(report, threads=2, rows=[replace(row, results={OWN: own})])
        assert ("something else was running" in str(changed)) == busy


def test_more_than_the_ceiling_is_marked(report: Report) -> None:
    row = report.rows[0]
    assert not replace(row, ceiling=1e9).disturbed
    low = replace(row, ceiling=row.gflops() / 2)
    assert low.disturbed
    text = str(replace(report, rows=[low]))
    assert "200.0 %?" in text
    assert "the ceiling was disturbed: 2x4/2x40x8" in text
    # The smallest call has no ceiling to speak of.
    assert not replace(report.rows[-1], ceiling=1e-9).disturbed


def test_a_disturbed_ceiling_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = itertools.chain([1e-9] * FAST.rounds, itertools.repeat(1e9))
    core = SimpleNamespace(ceiling=lambda *_: next(samples))
    monkeypatch.setattr(runner, "_core", core)
    row = runner.measure(FULL, np.random.default_rng(0), regard.active_isa(), 1, [], FAST)
    assert row.ceiling == 1e9


def test_missing_rival_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Torch, "available", classmethod(lambda cls: False))
    started, missing = runner.start_rivals(("torch", "numpy"), 1)
    assert [rival.name for rival in started] == ["numpy"]
    assert missing == {"torch": "not installed (pip install torch)"}


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown rival 'tensorflow'; there are torch, onnx"):
        runner.run(runner.Options(rivals=("tensorflow",)))
    with pytest.raises(ValueError, match="no case matches 'nothing'; there are full-1k-d64"):
        runner.run(runner.Options(pattern="nothing"))


def test_pattern_matches_names_and_groups() -> None:
    chosen = runner.select(CASES, runner.Options(pattern="causal*"))
    assert {case.name for case in chosen} >= {"causal-256-d64", "causal-4k-d64"}
    assert all(case.group == "causal" for case in chosen)
    assert len(runner.select(CASES, runner.Options(quick=True))) < len(CASES)


# --- rivals


def ways_of(rival: Rival, case: Case, inputs: Inputs) -> Iterator[Any]:
    with contextlib.suppress(Unsupported):
        yield from rival.ways(case, inputs)


@pytest.mark.parametrize("name", [*SMALL, "causal bias"])
@pytest.mark.parametrize("rival", RIVALS)
def test_rivals_agree_with_the_oracle(rival: str, name: str) -> None:
    kind = RIVALS[rival]
    if rival != "numpy" and not kind.available():
        pytest.skip(f"{rival} is not installed")
    if name == "causal bias" and "bias" not in kind.options:
        pytest.skip(f"{rival} is not measured with it")
    case, started = {**SMALL, "causal bias": OPTIONS["bias"]}[name], kind(1)
    if rival == "numpy":
        started._limit = True  # type: ignore[attr-defined]
    inputs = draw(case)
    ways = 0
    for way, build in ways_of(started, case, inputs):
        if way == "FlexAttention":
            continue  # compiling it takes longer than all other tests together
        try:
            result = build().result()
        except Unsupported:
            continue
        ways += 1
        error = accuracy.largest_error(case, inputs, result)
        # ONNX Runtime takes float64 and computes part of it in float32; a run says so.
        exact = 1e-12 if case.dtype == "float64" and rival != "onnxruntime" else 2e-5
        limits = {"float16": 8e-3, "bfloat16": 6e-2, "int8": 3e-2}
        assert error < limits.get(case.stored, exact), way
    assert ways or case.dtype == "float64" or case.group in ("storage", "decode")


@pytest.mark.parametrize("name", ["full", "causal", "bfloat16", "window", "bias"])
@pytest.mark.parametrize("rival", [name for name, kind in RIVALS.items() if kind.gradients])
def test_gradients_of_rivals_agree_with_the_oracle(rival: str, name: str) -> None:
    kind, case = RIVALS[rival], BACKWARD[name]
    if not kind.available():
        pytest.skip(f"{rival} is not installed")
    if case.option and case.option not in kind.options:
        pytest.skip(f"{rival} is not measured with it")
    inputs = draw(case)
    ((prepared, found),) = kind(1).prepare(case, inputs)
    error = accuracy.largest_error(case, inputs, found)
    assert error < (5e-2 if case.dtype == "bfloat16" else 1e-5), prepared.way


# --- targets


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


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
        ("decode-4k-d128-gqa4", "avx2", 1e-3, None, 80.0, ""),
        ("decode-4k-d128-gqa4", "generic", 1e-3, None, 71.0, "by 9.0 points"),
        ("decode-8x12-1k-d64-bf16", "avx2", 0.6e-3, 1e-3, 85.0, ""),
        ("decode-8x12-1k-d64-int8", "avx2", 1e-3, 1e-3, 85.0, "bfloat16 is faster"),
        (
            "decode-8x-4k-d128-gqa4-f16",
            "avx2",
            2e-3,
            1e-3,
            40.0,
            "by 40.0 points and float32 is faster",
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
    verdict = targets.judge(case_named(name), isa, seconds, baseline, percent)
    assert verdict is not None
    assert verdict.missed == missed
    assert verdict.met == (missed == "")


@pytest.mark.parametrize(("name", "limit"), [("window-512-of-4k", 1.2), ("backward-window", 1.35)])
def test_window_is_judged_by_the_pairs_it_sees(name: str, limit: float) -> None:
    case = case_named(name)
    share = case.pairs / (4096 * 4096 / 2)
    for factor, met in ((0.99 * limit, True), (1.01 * limit, False)):
        verdict = targets.judge(case, "avx512", share * factor, 1.0, 50.0)
        assert verdict is not None
        assert verdict.met == met


@pytest.mark.parametrize(("percent", "met"), [(81.0, True), (79.0, False)])
def test_bfloat16_is_held_to_dot_products_where_it_is_multiplied(percent, met) -> None:
    verdict = targets.judge(case_named("bf16-1k-d64"), "avx512_bf16", 1.0, 1.0, percent)
    assert verdict is not None
    assert verdict.met == met


def test_cases_without_a_target_only_inform() -> None:
    assert targets.judge(case_named("option-cosine"), "avx512", 1.0, 1.0, 1.0) is None
    assert targets.judge(case_named("full-1k-d64"), "generic", 1.0, None, 1.0) is None
