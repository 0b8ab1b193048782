"""What the newer options refuse: the argument is named, and nothing is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from bad_calls import ARRAYS, CUTS, KEY, QUERY, VALUE, check_message, ones
from regard import bias
from regard._call.foreign import FOREIGN
from regard._call.options import OPTIONS


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
    "window list of 7 heads": ("window", ValueError, {"window": ([None] * 7, 1)}),
    "window list of floats": ("window", TypeError, {"window": ([1.0] * 8, 1)}),
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


UNKNOWN = {
    "attention": lambda **options: regard.attention(QUERY, KEY, VALUE, **options),
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


def test_words_of_other_libraries_are_translated():
    for foreign, ours in {
        "is_causal": "causal='upper_left'", "attn_mask": "mask=", "key_padding_mask": "key_mask=",
        "dropout_p": "dropout=", "softmax_scale": "scale=", "window_size": "window=",
        "block_mask": "regard.BlockMask",
    }.items():  # fmt: skip
        with pytest.raises(TypeError, match=f"^attention: there is no option {foreign}.*\n") as no:
            regard.attention(QUERY, KEY, VALUE, **{foreign: None})
        assert ours in str(no.value)
    assert not FOREIGN.keys() & {option.name for option in OPTIONS}


def test_methods_of_caches_are_named():
    rows = np.ones((1, 2, 3, 4), np.float32)
    cache = regard.KVCache(1, 2, 4, 8)
    with pytest.raises(TypeError, match=r"^append: key has dtype complex64"):
        cache.append(rows * 1j, rows)
    cache.append(rows, rows)
    with pytest.raises(TypeError, match=r"^attend: query has dtype complex64"):
        cache.attend(rows * 1j)
    with pytest.raises(TypeError, match=r"^attend: there is no option casual.\n  Is causal meant"):
        cache.attend(rows, casual=True)
    pages = regard.PagedKVCache(2, 4, 2, 4)
    sequence = pages.allocate()
    with pytest.raises(TypeError, match=r"^append: value has dtype complex64"):
        pages.append(sequence, rows[0].swapaxes(0, 1), rows[0].swapaxes(0, 1) * 1j)
