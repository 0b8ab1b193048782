"""What each case is meant to reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass

from regard.bench.case import Case
from regard.bench.storage import LARGER, held_to

# Per cent of the FMA ceiling, by case, on the widest ISA. Products of the usual sizes are held
# to what a probe of the algorithm reached; odd shapes to a little less; causal and short ones
# to what is left after the parts of a tile that are thrown away.
_WIDEST = {
    "full-1k-d64": 90,
    "full-4k-d64": 90,
    "full-2k-d128-gqa4": 90,
    "full-1k-d80": 80,
    "full-1k-d96": 80,
    "full-1021-d64": 80,
    "full-1k-d64-bnhd": 80,
    "causal-256-d64": 60,
    "causal-1k-d64": 78,
    "causal-4k-d64": 85,
    "causal-2k-d128-gqa4": 78,
    "bert-8x12x128": 75,
    "vit-8x12x197": 78,
    "minilm-32x12x64": 62,
    "minilm-24x12x50": 62,
    "e5-5x16x100": 75,
    "full-1k-d64-float64": 80,
}
_AVX2 = {"full-1k-d64": 85, "full-4k-d64": 85, "full-2k-d128-gqa4": 85}

# The same of forward and backward together, full and causal.
_BACKWARD = (
    "backward-1k-d64",
    "backward-1k-d128",
    "backward-4k-d64",
    "backward-4k-d128",
    "backward-one-head-8k-d64",
)
_WIDEST |= {name: 78 for name in _BACKWARD} | {f"{name}-causal": 70 for name in _BACKWARD}
_AVX2 |= {name: 72 for name in _BACKWARD} | {f"{name}-causal": 70 for name in _BACKWARD}

# Times the same call without the option.
_OPTIONS = {
    "option-softcap": 1.35,
    "option-alibi": 1.1,
    "option-sinks": 1.02,
    "option-dropout": 1.4,
    "option-t5": 1.25,
    "option-relative": 1.25,
    "option-bias": 1.15,
    "option-summary": 1.6,
    "option-score-mod": 1.5,
    **{
        f"backward-{name}": 1.35
        for name in ("softcap", "alibi", "sinks", "dropout", "t5", "relative", "cosine")
    },
    "backward-bias": 1.5,  # a gradient as large as the scores
}

BLOCKS_LIMIT = 1.25  # times the cost of a useful (query, key) pair without the block mask
HALF_LIMIT = 1 / 0.93  # times the same call in float32, where 16 bits are widened
DOT_PERCENT = 80  # of the ceiling of dot products of bfloat16, where the ISA has them
DOT_BACKWARD_PERCENT = 65  # the same, forward and backward
LATENT_PERCENT = 80  # of the ceiling, for one query of 128 heads
MEMORY_PERCENT = 85  # of the read bandwidth, for decode of what no cache of the CPU holds
MEMORY_INT8_PERCENT = 70  # the same with 8 bits, where every byte takes more arithmetic
CACHE_PERCENT = 70  # the same from the last cache, where arithmetic takes as long; not for 8 bits
ONE_THREAD_HALF_PERCENT = 65  # from memory in 16 bits, by one thread
MASK_LIMIT = 1.15  # times the same call without mask or bias
WINDOW_LIMIT = 1.2  # times the cost of a useful (query, key) pair without the window
BACKWARD_WINDOW_LIMIT = 1.35  # the same with gradients
CALL_LIMIT = 3e-6  # seconds, smallest call
CALL_OVER_FLOOR_LIMIT = 1.5e-6  # seconds over an empty call with three arrays


@dataclass(frozen=True)
class Setting:
    """What a run was measured with: its ISA, threads, and bytes of the CPU's last cache."""

    isa: str
    threads: int = 2
    last_cache: int = 0


@dataclass(frozen=True)
class Verdict:
    """A target in words, what was reached, and by how much it was missed (empty when met)."""

    target: str
    reached: str
    missed: str

    @property
    def met(self) -> bool:
        """Whether the target was met."""
        return not self.missed


def percent_target(case: Case, isa: str) -> float | None:
    """Per cent of the ceiling that a case should reach on an ISA; None where there is no target."""
    if case.group == "latent":
        return LATENT_PERCENT
    if held_to(case.dtype, isa) == "bfloat16" and not case.bound_by_memory:
        return DOT_BACKWARD_PERCENT if case.backward else DOT_PERCENT
    if isa.startswith("avx512"):
        return _WIDEST.get(case.name)
    if isa == "avx2":
        return _AVX2.get(case.name)
    return None


def bandwidth_target(case: Case, setting: Setting) -> float | None:
    """Per cent of the read bandwidth that a case of decode should reach; None without a target."""
    wide, several = case.stored in ("float32", "float64"), setting.threads > 1
    if case.bytes <= setting.last_cache:
        return None if case.stored == "int8" else CACHE_PERCENT
    if wide:
        return MEMORY_PERCENT
    if case.stored == "int8":
        return MEMORY_INT8_PERCENT if several else None
    return MEMORY_PERCENT if several else ONE_THREAD_HALF_PERCENT


def judge(
    case: Case, setting: Setting, seconds: float, baseline: float | None, percent: float
) -> Verdict | None:
    """Compare a measurement with its target.

    Parameters
    ----------
    case : Case
    setting : Setting
        What it ran with.
    seconds : float
        Median time of a call.
    baseline : float or None
        Median time of what a mask, a window, an option or the smallest call is compared with.
    percent : float
        Useful GFLOP/s, or GB/s, as per cent of the ceiling.

    Returns
    -------
    Verdict or None
        None when the case has no target, so that it only informs.
    """
    if case.group == "decode":
        return _decode(case, setting, seconds, baseline, percent)
    wanted = percent_target(case, setting.isa)
    if wanted is not None:
        missed = "" if round(percent, 1) >= wanted else f"by {wanted - percent:.1f} points"
        return Verdict(f">= {wanted:.0f} % of the ceiling", f"{percent:.1f} %", missed)
    if baseline is None:
        return None
    if case.group == "storage":
        return _factor("the time in float32", seconds / baseline, HALF_LIMIT)
    if case.group == "mask":
        return _factor("the unmasked time", seconds / baseline, MASK_LIMIT)
    if case.option == "blocks":
        density = case.pairs / (case.length * case.key_length)
        return _factor("density x plain", seconds / baseline / density, BLOCKS_LIMIT)
    if case.name in _OPTIONS:
        return _factor("plain", seconds / baseline, _OPTIONS[case.name])
    if case.window is not None:
        limit = BACKWARD_WINDOW_LIMIT if case.backward else WINDOW_LIMIT
        per_pair = seconds / baseline * (case.key_length / 2 * case.length) / case.pairs
        return _factor("the time per visible pair without it", per_pair, limit)
    if case.group == "call":
        over = seconds - baseline
        excess = max(seconds - CALL_LIMIT, over - CALL_OVER_FLOOR_LIMIT)
        missed = "" if excess <= 0 else f"by {excess * 1e6:.2f} µs"
        reached = f"{seconds * 1e6:.2f} µs, {over * 1e6:.2f} µs over"
        return Verdict("<= 3 µs and <= 1.5 µs over an empty call", reached, missed)
    return None


def _decode(
    case: Case, setting: Setting, seconds: float, baseline: float | None, percent: float
) -> Verdict | None:
    """Want a cache read at the speed of memory, and a smaller one in less time than a larger."""
    wanted = bandwidth_target(case, setting)
    targets, reached, missed = [], [f"{percent:.1f} %"], []
    if wanted is not None:
        targets.append(f">= {wanted:.0f} % of the bandwidth")
        if round(percent, 1) < wanted:
            missed.append(f"by {wanted - percent:.1f} points")
    if baseline is not None:
        factor, larger = seconds / baseline, LARGER[case.stored]
        targets.append(f"faster than {larger}")
        reached.append(f"{factor:.2f}x {larger}")
        if factor >= 1:
            missed.append(f"{larger} is faster")
    if not targets:
        return None
    return Verdict(", ".join(targets), ", ".join(reached), " and ".join(missed))


def _factor(what: str, factor: float, limit: float) -> Verdict:
    missed = "" if factor <= limit else f"by {(factor / limit - 1) * 100:.0f} %"
    return Verdict(f"<= {limit:g}x {what}", f"{factor:.2f}x", missed)
