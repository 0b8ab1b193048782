"""One case for each message: the type raised, what it names and shows, and that nothing is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import regard
from problems import make_problem

RNG = np.random.default_rng(3)
PROBLEM = make_problem(
    RNG, batch=(2,), heads=8, kv_heads=4, queries=12, keys=10, head_dim=16, value_dim=6
)
QUERY, KEY, VALUE = PROBLEM.query, PROBLEM.key, PROBLEM.value
OUT_SHAPE = (2, 8, 12, 6)
# How a message shows the three arrays.
SHOW_QUERY = "(batch=2, heads=8, length=12, head_dim=16)"
SHOW_KEY = "(batch=2, heads=4, length=10, head_dim=16)"


@dataclasses.dataclass
class Case:
    """A call that must be refused: what is changed in a good one, and what the message says."""

    changes: dict[str, Any]
    exception: type[Exception]
    # Found in the first line.
    names: tuple[str, ...]
    # Found anywhere.
    says: tuple[str, ...] = ()


def wrong(exception: type[Exception], *names: str, says: tuple[str, ...] = (), **changes: Any) -> Case:
    return Case(changes, exception, names, says)


ones = np.ones
zeros = np.zeros

CASES = {
    # Shapes of query, key and value.
    "query of rank 0": wrong(ValueError, "query", query=np.float32(1)),
    "key of rank 1": wrong(ValueError, "key", key=KEY[0, 0, 0]),
    "key of rank 0": wrong(ValueError, "key", key=np.float32(1)),
    "value of rank 1": wrong(ValueError, "value", value=VALUE[0, 0, 0]),
    "head_dim": wrong(
        ValueError, "query", "key", "head_dim", "16", "15",
        key=KEY[..., :15], says=(SHOW_QUERY, "head_dim=15", "last axis", "float32"),
    ),
    "head_dim 0": wrong(ValueError, "head_dim", query=QUERY[..., :0], key=KEY[..., :0]),
    "key and value lengths": wrong(
        ValueError, "key", "value", "length", "10", "9",
        value=VALUE[..., :9, :], says=(SHOW_KEY, "length=9"),
    ),
    "kv heads": wrong(
        ValueError, "key", "value", "heads", "4", "2",
        value=VALUE[:, :2], says=(SHOW_KEY, "heads=2"),
    ),
    "query heads": wrong(
        ValueError, "heads", "8", "3", "multiple",
        key=KEY[:, :3], value=VALUE[:, :3], says=(SHOW_QUERY, "heads=3"),
    ),
    "no kv heads": wrong(ValueError, "heads", key=KEY[:, :0], value=VALUE[:, :0]),
    "batch": wrong(
        ValueError, "batch", "broadcast",
        key=np.repeat(KEY, 2, axis=0)[:3], says=(SHOW_QUERY, "batch=3"),
    ),
    "batch of value": wrong(ValueError, "batch", "broadcast", value=VALUE[[0, 0, 0]]),
    # Their dtypes.
    "mixed floats": wrong(
        TypeError, "dtype", key=KEY.astype(np.float64), says=("float32", "float64")
    ),
    "value of another dtype": wrong(
        TypeError, "dtype", value=VALUE.astype(np.float64), says=("float32", "float64")
    ),
    "complex": wrong(TypeError, "query", "complex64", query=QUERY.astype(np.complex64)),
    "object": wrong(TypeError, "key", "object", key=KEY.astype(object)),
    "strings": wrong(TypeError, "value", value=VALUE.astype(str)),
    "float16": wrong(
        TypeError, "float16",
        query=QUERY.astype(np.float16), key=KEY.astype(np.float16), value=VALUE.astype(np.float16),
    ),
    "longdouble": wrong(
        TypeError, np.dtype(np.longdouble).name, query=QUERY.astype(np.longdouble)
    ),
    "dates": wrong(TypeError, "key", key=KEY.astype("datetime64[s]")),
    "ragged": wrong((TypeError, ValueError), query=[[1.0], [1.0, 2.0]]),
    # causal and window.
    "causal": wrong(ValueError, "causal", "'up'", causal="up", says=("lower_right", "upper_left")),
    "causal None": wrong((TypeError, ValueError), "causal", causal=None),
    "causal int": wrong((TypeError, ValueError), "causal", causal=2),
    "window negative": wrong(ValueError, "window", "-1", window=-1),
    "window left negative": wrong(ValueError, "window", "-2", window=(-2, None)),
    "window right negative": wrong(ValueError, "window", "-3", window=(1, -3)),
    "window float": wrong(TypeError, "window", window=1.5),
    "window of float": wrong(TypeError, "window", window=(1.5, 0)),
    "window of one": wrong((TypeError, ValueError), "window", window=(1,)),
    "window of three": wrong((TypeError, ValueError), "window", window=(1, 2, 3)),
    "window string": wrong(TypeError, "window", window="ab"),
    # mask and bias.
    "mask of floats": wrong(TypeError, "mask", "float64", mask=ones((12, 10)), says=("bool", "bias")),
    "mask of integers": wrong(TypeError, "mask", "uint8", mask=ones((12, 10), np.uint8)),
    "mask shape": wrong(
        ValueError, "mask", mask=ones((12, 9), bool), says=("12, 9", "length=12")
    ),
    "mask rank": wrong(ValueError, "mask", mask=ones((1, 1, 1, 12, 10), bool)),
    "mask of kv heads": wrong(ValueError, "mask", mask=ones((4, 12, 10), bool)),
    "bias dtype": wrong(TypeError, "bias", "float64", bias=zeros((12, 10)), says=("float32",)),
    "bias of integers": wrong(TypeError, "bias", "int64", bias=zeros((12, 10), np.int64)),
    "bias of bools": wrong(TypeError, "bias", "bool", bias=zeros((12, 10), bool), says=("mask",)),
    "bias shape": wrong(ValueError, "bias", bias=zeros((11, 10), np.float32), says=("11, 10",)),
    "bias rank": wrong(ValueError, "bias", bias=zeros((1, 2, 8, 12, 10), np.float32)),
    # key_lengths.
    "key_lengths of floats": wrong(TypeError, "key_lengths", "float64", key_lengths=[3.0, 4.0]),
    "key_lengths of bools": wrong(TypeError, "key_lengths", "bool", key_lengths=[True, False]),
    "key_lengths shape": wrong(ValueError, "key_lengths", key_lengths=[3, 4, 5], says=("3",)),
    "key_lengths rank": wrong(ValueError, "key_lengths", key_lengths=[[3, 4]]),
    "key_lengths negative": wrong(ValueError, "key_lengths", "-1", key_lengths=[3, -1]),
    "key_lengths too long": wrong(ValueError, "key_lengths", "11", key_lengths=[11, 3], says=("10",)),
    "key_lengths far too long": wrong(
        ValueError, "key_lengths", key_lengths=np.array([3, 2**64 - 1], np.uint64)
    ),
    # scale and num_threads.
    "scale nan": wrong(ValueError, "scale", "nan", scale=np.nan),
    "scale inf": wrong(ValueError, "scale", "inf", scale=-np.inf),
    "scale string": wrong(TypeError, "scale", scale="1"),
    "scale array": wrong(TypeError, "scale", scale=[1.0, 2.0]),
    "scale complex": wrong(TypeError, "scale", scale=1j),
    "no threads": wrong(ValueError, "num_threads", "0", num_threads=0),
    "fewer than no threads": wrong(ValueError, "num_threads", "-2", num_threads=-2),
    "half a thread": wrong(TypeError, "num_threads", num_threads=1.5),
    "threads by name": wrong(TypeError, "num_threads", num_threads="all"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_before_anything_is_written(name):
    case = CASES[name]
    canary = np.full(OUT_SHAPE, 123.5, dtype=np.float32)
    arguments = {"query": QUERY, "key": KEY, "value": VALUE, "out": canary} | case.changes
    with pytest.raises(case.exception) as error:
        regard.attention(**arguments)
    message = str(error.value)
    first_line = message.splitlines()[0]
    assert first_line.startswith("attention: "), message
    for said in case.names:
        assert said in first_line, message
    for said in case.says:
        assert said in message, message
    assert (canary == 123.5).all()


@pytest.mark.parametrize("name", CASES)
def test_explain_refuses_the_same(name):
    case = CASES[name]
    arguments = {"query": QUERY, "key": KEY, "value": VALUE} | case.changes
    with pytest.raises(case.exception):
        regard.explain(**arguments)


def test_the_good_call_is_good():
    """What the cases change is all that is wrong with them."""
    out = np.full(OUT_SHAPE, 123.5, dtype=np.float32)
    regard.attention(QUERY, KEY, VALUE, out=out)
    assert not (out == 123.5).any()


def test_shape_of_a_message():
    with pytest.raises(ValueError) as error:
        regard.attention(QUERY, KEY[..., :15], VALUE)
    assert str(error.value) == (
        "attention: query and key disagree on head_dim (16 vs 15).\n"
        "  query  (batch=2, heads=8, length=12, head_dim=16) float32\n"
        "  key    (batch=2, heads=4, length=10, head_dim=15) float32\n"
        "  The last axis of query and key must match."
    )


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_shapes_are_shown_for_any_rank(rank):
    query = zeros((2, 3, 4, 5, 6)[-rank:], np.float32)
    with pytest.raises(ValueError) as error:
        regard.attention(query, query[..., :5], query)
    assert "length=5, head_dim=6)" in str(error.value)
    assert "length=5, head_dim=5)" in str(error.value)
    assert ("heads=4" in str(error.value)) == (rank > 2)


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        regard.attention(QUERY, KEY, VALUE, True)
    with pytest.raises(TypeError, match="dropout"):
        regard.attention(QUERY, KEY, VALUE, dropout=0.5)
