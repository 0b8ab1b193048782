"""What the newer options refuse: the argument is named, and nothing is written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import regard
from problems import make_problem
from regard import bias
from regard._bfloat16 import MARKER, to_bfloat16

PROBLEM = make_problem(
    np.random.default_rng(3), batch=(2,), heads=8, kv_heads=4, queries=12, keys=10, head_dim=16,
    value_dim=6,
)  # fmt: skip
QUERY, KEY, VALUE = PROBLEM.query, PROBLEM.key, PROBLEM.value


def ones(*shape: int, dtype: Any = bool) -> np.ndarray:
    return np.ones(shape, dtype=dtype)


def holding(x: float, *, heads: int = 8) -> np.ndarray:
    """One number for each head, of which one is wrong."""
    numbers = np.ones(heads)
    numbers[heads // 2] = x
    return numbers


def window(*numbers: Any) -> np.ndarray:
    return np.array([*numbers, *[1] * (8 - len(numbers))])


def packed(*shape: int) -> regard.PackedMask:
    return regard.PackedMask.from_dense(ones(*shape))


def block(*shape: int) -> regard.BlockMask:
    return regard.BlockMask.from_dense(ones(*shape))


GRID = bias.Grid(np.zeros((5 * 3, 8)), 3, 2)  # of 6 pixels
SEED = {"seed": 1}

# The argument that the message names, the exception, and what is given.
CASES: dict[str, tuple[str, type[Exception], dict[str, Any]]] = {
    # Numbers for each head.
    "scale of 7 heads": ("scale", ValueError, {"scale": np.ones(7)}),
    "scale of two axes": ("scale", ValueError, {"scale": np.ones((8, 1))}),
    "scale of elements": ("scale", ValueError, {"scale": np.ones((2, 8))}),
    "scale nan": ("scale", ValueError, {"scale": holding(np.nan)}),
    "scale inf": ("scale", ValueError, {"scale": holding(np.inf)}),
    "scale of strings": ("scale", TypeError, {"scale": np.array(["1"] * 8)}),
    "scale of complex": ("scale", TypeError, {"scale": np.ones(8, complex)}),
    "softcap < 0": ("softcap", ValueError, {"softcap": -1.0}),
    "softcap nan": ("softcap", ValueError, {"softcap": np.nan}),
    "softcap inf": ("softcap", ValueError, {"softcap": np.inf}),
    "softcap string": ("softcap", TypeError, {"softcap": "30"}),
    "softcap bool": ("softcap", TypeError, {"softcap": True}),
    "softcap of 7 heads": ("softcap", ValueError, {"softcap": np.ones(7)}),
    "softcap of heads < 0": ("softcap", ValueError, {"softcap": holding(-1)}),
    "softcap of heads nan": ("softcap", ValueError, {"softcap": holding(np.nan)}),
    "softcap of heads inf": ("softcap", ValueError, {"softcap": holding(np.inf)}),
    "softcap of two axes": ("softcap", ValueError, {"softcap": np.ones((1, 8))}),
    # ALiBi.
    "slopes of 7 heads": ("alibi_slopes", ValueError, {"alibi_slopes": np.ones(7)}),
    "slopes of 3 elements": ("alibi_slopes", ValueError, {"alibi_slopes": np.ones((3, 8))}),
    "slopes of three axes": ("alibi_slopes", ValueError, {"alibi_slopes": np.ones((1, 2, 8))}),
    "slopes nan": ("alibi_slopes", ValueError, {"alibi_slopes": holding(np.nan)}),
    "slopes inf": ("alibi_slopes", ValueError, {"alibi_slopes": holding(-np.inf)}),
    "slopes of strings": ("alibi_slopes", TypeError, {"alibi_slopes": ["a"] * 8}),
    "slopes of complex": ("alibi_slopes", TypeError, {"alibi_slopes": ones(8, dtype=complex)}),
    # Sinks.
    "sinks of 7 heads": ("sinks", ValueError, {"sinks": np.ones(7)}),
    "sinks of kv heads": ("sinks", ValueError, {"sinks": np.ones(4)}),
    "sinks of elements": ("sinks", ValueError, {"sinks": np.ones((2, 8))}),
    "sinks nan": ("sinks", ValueError, {"sinks": holding(np.nan)}),
    "sinks inf": ("sinks", ValueError, {"sinks": holding(np.inf)}),
    "sinks of strings": ("sinks", TypeError, {"sinks": ["a"] * 8}),
    # Windows of heads.
    "window of 7 heads": ("window", ValueError, {"window": ones(7, dtype=int)}),
    "window of two axes": ("window", ValueError, {"window": ones(2, 8, dtype=int)}),
    "window of heads < -1": ("window", ValueError, {"window": window(-2)}),
    "window side of 7 heads": ("window", ValueError, {"window": (ones(7, dtype=int), 1)}),
    "window side < -1": ("window", ValueError, {"window": (None, window(3, -5))}),
    "window of heads of floats": ("window", TypeError, {"window": np.ones(8)}),
    "window side of floats": ("window", TypeError, {"window": (np.ones(8), 1)}),
    "window of heads of bools": ("window", TypeError, {"window": ones(8)}),
    "window < 0": ("window", ValueError, {"window": (-1, None)}),
    # Masks in other forms.
    "keys of packed mask": ("mask", ValueError, {"mask": packed(12, 9)}),
    "queries of packed mask": ("mask", ValueError, {"mask": packed(11, 10)}),
    "heads of packed mask": ("mask", ValueError, {"mask": packed(4, 12, 10)}),
    "batch of packed mask": ("mask", ValueError, {"mask": packed(3, 1, 12, 10)}),
    "rank of packed mask": ("mask", ValueError, {"mask": packed(1, 1, 1, 12, 10)}),
    "keys of block mask": ("mask", ValueError, {"mask": block(12, 9)}),
    "queries of block mask": ("mask", ValueError, {"mask": block(11, 10)}),
    "one query of block mask": ("mask", ValueError, {"mask": block(1, 10)}),
    "heads of block mask": ("mask", ValueError, {"mask": block(4, 12, 10)}),
    "batch of block mask": ("mask", ValueError, {"mask": block(3, 8, 12, 10)}),
    "rank of block mask": ("mask", ValueError, {"mask": block(1, 1, 1, 12, 10)}),
    # Biases by position.
    "position_bias array": ("position_bias", TypeError, {"position_bias": np.zeros((3, 8))}),
    "position_bias string": ("position_bias", TypeError, {"position_bias": "t5"}),
    "position_bias class": ("position_bias", TypeError, {"position_bias": bias.Relative}),
    "heads of Relative": (
        "position_bias", ValueError, {"position_bias": bias.Relative(np.zeros((3, 4)))},
    ),
    "heads of T5": ("position_bias", ValueError, {"position_bias": bias.T5(np.zeros((8, 7)))}),
    "size of Grid": ("position_bias", ValueError, {"position_bias": GRID}),
    # Lengths and offsets.
    "query_lengths of floats": ("query_lengths", TypeError, {"query_lengths": [3.0, 4.0]}),
    "query_lengths of bools": ("query_lengths", TypeError, {"query_lengths": [True, False]}),
    "shape of query_lengths": ("query_lengths", ValueError, {"query_lengths": [3, 4, 5]}),
    "rank of query_lengths": ("query_lengths", ValueError, {"query_lengths": [[3, 4]]}),
    "query_lengths < 0": ("query_lengths", ValueError, {"query_lengths": [3, -1]}),
    "query_lengths > queries": ("query_lengths", ValueError, {"query_lengths": [13, 3]}),
    "query_lengths beyond int64": (
        "query_lengths", ValueError, {"query_lengths": np.array([3, 2**64 - 1], np.uint64)},
    ),
    "query_offset float": ("query_offset", TypeError, {"query_offset": 1.0}),
    "query_offset bool": ("query_offset", TypeError, {"query_offset": True}),
    "query_offset string": ("query_offset", TypeError, {"query_offset": "3"}),
    "query_offset of floats": ("query_offset", TypeError, {"query_offset": [3.0, 4.0]}),
    "shape of query_offset": ("query_offset", ValueError, {"query_offset": [3, 4, 5]}),
    "rank of query_offset": ("query_offset", ValueError, {"query_offset": [[3, 4]]}),
    # Similarity and dropout.
    "similarity": ("similarity", ValueError, {"similarity": "euclid"}),
    "similarity None": ("similarity", (ValueError, TypeError), {"similarity": None}),
    "dropout 1": ("dropout", ValueError, {"dropout": 1.0} | SEED),
    "dropout < 0": ("dropout", ValueError, {"dropout": -0.1} | SEED),
    "dropout > 1": ("dropout", ValueError, {"dropout": 1.5} | SEED),
    "dropout nan": ("dropout", ValueError, {"dropout": np.nan} | SEED),
    "dropout string": ("dropout", TypeError, {"dropout": "0.5"} | SEED),
    "dropout None": ("dropout", TypeError, {"dropout": None} | SEED),
    "dropout bool": ("dropout", TypeError, {"dropout": True} | SEED),
    "dropout list": ("dropout", TypeError, {"dropout": [0.5]} | SEED),
    "no seed": ("seed", ValueError, {"dropout": 0.5}),
    "seed < 0": ("seed", ValueError, {"dropout": 0.5, "seed": -1}),
    "seed of 65 bits": ("seed", ValueError, {"dropout": 0.5, "seed": 2**64}),
    "seed float": ("seed", TypeError, {"dropout": 0.5, "seed": 1.0}),
    "seed bool": ("seed", TypeError, {"dropout": 0.5, "seed": True}),
    "seed string": ("seed", TypeError, {"dropout": 0.5, "seed": "1"}),
}  # fmt: skip


def check_message(error: BaseException, name: str) -> None:
    """Function and argument on the first line, what to do on those below."""
    first, *others = str(error).split("\n")
    assert re.match(rf"\w+: .*\b{name}\b", first), str(error)
    assert others, str(error)
    assert all(line.startswith("  ") for line in others), str(error)


@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_is_written(case):
    name, exception, options = CASES[case]
    canary = np.full((2, 8, 12, 6), 123.5, dtype=np.float32)
    with pytest.raises(exception) as error:
        regard.attention(QUERY, KEY, VALUE, out=canary, **options)
    check_message(error.value, name)
    assert (canary == 123.5).all()


def test_the_good_calls_are_good():
    """What the cases get wrong is accepted when it is right."""
    for options in (
        {"scale": np.ones(8), "softcap": np.zeros(8), "window": window(-1)},
        {"alibi_slopes": np.ones((2, 8)), "sinks": holding(-np.inf), "similarity": "cosine"},
        {"mask": packed(8, 12, 10), "position_bias": bias.T5(np.zeros((8, 8)))},
        {"mask": block(2, 1, 12, 10), "query_lengths": [12, 0], "query_offset": [-5, 9]},
        {"dropout": 0.5, "seed": 2**64 - 1},
        {"dropout": np.float32(0.5), "seed": np.int32(4)},
    ):
        assert np.isfinite(regard.attention(QUERY, KEY, VALUE, **options)).all()
    six = (x[..., :6, :] for x in (QUERY, KEY, VALUE))
    assert np.isfinite(regard.attention(*six, position_bias=GRID)).all()


@pytest.mark.parametrize(
    "options", [{"query_offset": 1}, {"query_lengths": [6, 5]}, {"key_lengths": [5, 6]}]
)
def test_a_grid_has_its_own_positions(options):
    six = (x[..., :6, :] for x in (QUERY, KEY, VALUE))
    with pytest.raises(ValueError, match="position_bias"):
        regard.attention(*six, position_bias=GRID, **options)


ARRAYS = [np.ascontiguousarray(x[0].swapaxes(0, 1)) for x in (QUERY, KEY, VALUE)]
CUTS = {"cu_seqlens_q": [0, 5, 12], "cu_seqlens_k": [0, 9, 10]}
Q, K = CUTS
VARLEN_CASES: dict[str, tuple[str, type[Exception], dict[str, Any]]] = {
    "not from 0": (Q, ValueError, {Q: [1, 5, 12]}),
    "not to the end": (Q, ValueError, {Q: [0, 5, 11]}),
    "beyond the end": (K, ValueError, {K: [0, 9, 11]}),
    "falling": (K, ValueError, {K: [0, 12, 10]}),
    "negative": (Q, ValueError, {Q: [0, -5, 12]}),
    "another number of pieces": ("cu_seqlens_[qk]", ValueError, {K: [0, 3, 9, 10]}),
    "no cuts": (Q, ValueError, {Q: np.array([], int)}),
    "two axes": (K, ValueError, {K: [[0, 9, 10]]}),
    "a number": (K, ValueError, {K: 10}),
    "floats": (Q, TypeError, {Q: [0.0, 5.0, 12.0]}),
    "bools": (Q, TypeError, {Q: [False, True, True]}),
    "strings": (K, TypeError, {K: ["0", "9", "10"]}),
    "key_lengths of a piece": ("key_lengths", ValueError, {"key_lengths": [9, 2]}),
    "query_lengths of a piece": ("query_lengths", ValueError, {"query_lengths": [6, 5]}),
    "key_lengths of 3 pieces": ("key_lengths", ValueError, {"key_lengths": [9, 1, 1]}),
    "slopes of 3 pieces": ("alibi_slopes", ValueError, {"alibi_slopes": np.ones((3, 8))}),
    "mask of 3 pieces": ("mask", ValueError, {"mask": ones(3, 8, 7, 9)}),
    "mask of all rows": ("mask", ValueError, {"mask": ones(12, 10)}),
    "bias of all rows": ("bias", ValueError, {"bias": ones(12, 10, dtype=np.float32)}),
    "query of four axes": ("query", ValueError, {"query": QUERY}),
    "value of two axes": ("value", ValueError, {"value": ARRAYS[2][:, 0]}),
    "no seed": ("seed", ValueError, {"dropout": 0.5}),
    "no keys": (K, ValueError, {K: None}),
    "unknown": ("softcaps", TypeError, {"softcaps": 1.0}),
    "int8 without scales": ("key", TypeError, {"key": ARRAYS[1].astype(np.int8)}),
    "scales of floats": ("key_scales", TypeError, {"key_scales": ones(10, 4, dtype=np.float32)}),
    "scales by head": ("key_scales", ValueError, {
        "key": ARRAYS[1].astype(np.int8), "key_scales": ones(4, 10, dtype=np.float32)}),
    "table and cuts": ("cu_seqlens_k", ValueError, {
        "key": KEY.swapaxes(1, 2), "value": VALUE.swapaxes(1, 2), "block_table": [[0], [1]],
        "key_lengths": [3, 4]}),
}  # fmt: skip


@pytest.mark.parametrize("case", VARLEN_CASES)
def test_varlen_refuses(case):
    name, exception, options = VARLEN_CASES[case]
    canary = np.full((12, 8, 6), 123.5, dtype=np.float32)
    arguments = dict(zip(("query", "key", "value"), ARRAYS, strict=True)) | CUTS | options
    with pytest.raises(exception) as error:
        regard.varlen_attention(**arguments, out=canary)
    check_message(error.value, name)
    assert (canary == 123.5).all()


def test_the_good_packed_call_is_good():
    options = {"mask": ones(2, 8, 7, 9), "key_lengths": [9, 1], "query_lengths": [5, 7]}
    assert np.isfinite(regard.varlen_attention(*ARRAYS, **CUTS, **options)).all()


INSPECT_CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "row beyond": ("attention_weights", "rows", {"rows": [12]}),
    "row before": ("attention_weights", "rows", {"rows": [-13]}),
    "key beyond": ("attention_weights", "keys", {"keys": np.array([0, 10])}),
    "rows of floats": ("attention_weights", "rows", {"rows": [1.0]}),
    "keys of strings": ("attention_weights", "keys", {"keys": ["1"]}),
    "rows of two axes": ("attention_weights", "rows", {"rows": [[1, 2]]}),
    "top_k < 0": ("attention_summary", "top_k", {"top_k": -1}),
    "top_k float": ("attention_summary", "top_k", {"top_k": 8.0}),
    "pooled 0": ("attention_summary", "pooled", {"pooled": (0, 4)}),
    "pooled < 0": ("attention_summary", "pooled", {"pooled": (4, -1)}),
    "pooled of three": ("attention_summary", "pooled", {"pooled": (4, 4, 4)}),
    "pooled float": ("attention_summary", "pooled", {"pooled": (4.0, 4)}),
    "softcap of weights": ("attention_weights", "softcap", {"softcap": -1.0}),
    "value_scales of weights": ("attention_weights", "value_scales", {"value_scales": 1}),
    "key_scales of floats": (
        "attention_weights",
        "key_scales",
        {"key_scales": ones(2, 4, 10, dtype=np.float32)},
    ),
    "no lengths of pages": ("attention_summary", "key_lengths", {"block_table": [[0], [1]]}),
    "sinks of a summary": ("attention_summary", "sinks", {"sinks": np.ones(7)}),
}


@pytest.mark.parametrize("case", INSPECT_CASES)
def test_inspection_refuses(case):
    function, name, options = INSPECT_CASES[case]
    with pytest.raises((ValueError, TypeError, IndexError)) as error:
        getattr(regard, function)(QUERY, KEY, **options)
    check_message(error.value, name)


UNKNOWN = {
    "explain": lambda **options: regard.explain(QUERY, KEY, VALUE, **options),
    "attention_weights": lambda **options: regard.attention_weights(QUERY, KEY, **options),
    "attention_summary": lambda **options: regard.attention_summary(QUERY, KEY, **options),
    "varlen_attention": lambda **options: regard.varlen_attention(*ARRAYS, **CUTS, **options),
}


@pytest.mark.parametrize("function", UNKNOWN)
def test_unknown_options_are_named(function):
    """With the function that was called, and the option that was meant."""
    start = rf"^{function}: there is no option"
    with pytest.raises(TypeError, match=rf"{start} windw\.\n  Is window meant"):
        UNKNOWN[function](windw=3)
    with pytest.raises(TypeError, match=rf"{start} qqq\.\n  There are causal, window, mask"):
        UNKNOWN[function](qqq=3)
    with pytest.raises(TypeError, match=r"attention\(\) got an unexpected keyword .*windw"):
        regard.attention(QUERY, KEY, VALUE, windw=3)


BFLOAT16 = [to_bfloat16(x, MARKER) for x in (QUERY, KEY, VALUE)]
TYPES: dict[str, tuple[str, dict[str, Any]]] = {
    "float64 query": ("key", {"query": QUERY.astype(np.float64)}),
    "float64 key": ("key", {"key": KEY.astype(np.float64)}),
    "float64 value": ("value", {"value": VALUE.astype(np.float64)}),
    "float64 key of bfloat16": ("key", {"query": BFLOAT16[0], "key": KEY.astype(np.float64)}),
    "bfloat16 key of float64": ("key", {
        "query": QUERY.astype(np.float64), "key": BFLOAT16[1], "value": VALUE.astype(np.float64)}),
    "complex query": ("query", {"query": QUERY.astype(np.complex64)}),
    "long double value": ("value", {"value": VALUE.astype(np.longdouble)}),
    "record": ("query", {"query": np.zeros(QUERY.shape, [("half", "<u2")])}),
    "record of two": ("key", {"key": np.zeros(KEY.shape, [("bfloat16", "<u2"), ("x", "<u2")])}),
    "uint16 key": ("key", {"key": KEY.astype(np.uint16)}),
    "other byte order": ("query", {"query": QUERY.astype(">f2")}),
    "float64 bias": ("bias", {"bias": np.zeros((12, 10)), "query": BFLOAT16[0]}),
    "int8 bias": ("bias", {"bias": np.zeros((12, 10), np.int8)}),
    "out of float32": ("out", {"query": BFLOAT16[0], "out": np.zeros((2, 8, 12, 6), np.float32)}),
    "out of bfloat16": ("out", {"out": np.zeros((2, 8, 12, 6), MARKER)}),
    "out of uint16": ("out", {"query": BFLOAT16[0], "out": np.zeros((2, 8, 12, 6), np.uint16)}),
}  # fmt: skip


@pytest.mark.parametrize("case", TYPES)
def test_types_that_do_not_go_together(case):
    name, changed = TYPES[case]
    with pytest.raises((TypeError, ValueError)) as error:
        regard.attention(**{"query": QUERY, "key": KEY, "value": VALUE} | changed)
    check_message(error.value, name)


def test_types_that_do():
    for query in (QUERY, BFLOAT16[0], QUERY.astype(np.float16)):
        bias = np.zeros((12, 10), np.float16)
        out = np.zeros((2, 8, 12, 6), query.dtype)
        regard.attention(query, BFLOAT16[1], VALUE.astype(np.float16), bias=bias, out=out)
