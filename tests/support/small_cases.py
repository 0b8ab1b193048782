"""Cases of the benchmark small enough to check in no time, one of each kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from regard import reference
from regard.bench import score_mod, timing
from regard.bench.case import TITLES, Case
from regard.bench.cases import CASES
from regard.bench.inputs import Inputs, make_inputs, options_of

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
    **{name: replace(OPTION, option=name) for name in TITLES if name != "blocks"},
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
    if "score_mod" in words:
        words["score_mod"] = score_mod.of_arrays
    output: np.ndarray = reference.attention(inputs.query, inputs.key, inputs.value, **words)
    return output


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)
