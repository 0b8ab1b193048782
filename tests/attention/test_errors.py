"""One case for each message: its type and first line, the shapes it shows, and nothing written.

Messages about `out` are in test_out.py, those of newer options in options/test_errors_options.py,
those about ISAs in package/test_isa.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import regard
from problems import make_problem

PROBLEM = make_problem(
    np.random.default_rng(3), batch=(2,), heads=8, kv_heads=4, queries=12, keys=10, head_dim=16,
    value_dim=6,
)  # fmt: skip
QUERY, KEY, VALUE = PROBLEM.query, PROBLEM.key, PROBLEM.value
OUT_SHAPE = (2, 8, 12, 6)
# How a message shows them.
SHOW_QUERY = "(batch=2, heads=8, length=12, head_dim=16) float32"
SHOW_KEY = "(batch=2, heads=4, length=10, head_dim=16) float32"
SHOW_VALUE = "(batch=2, heads=4, length=10, value_dim=6)"


class OnAnotherDevice:
    """A tensor whose memory the CPU cannot read."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the tensor is on a GPU")


def ones(*shape: int, dtype: Any = bool) -> np.ndarray:
    return np.ones(shape, dtype=dtype)


TYPES = "float32, float64, float16 or bfloat16"
SIDES = "attention: window is {}."
HEADS = "attention: query has 8 heads and key has {}."
BATCH = "attention: the batch axes of query, key and value do not broadcast ({})."
MASK = "attention: mask does not broadcast to (2, 8, 12, 10)."
BIAS = "attention: bias does not broadcast to (2, 8, 12, 10)."
LENGTHS = "attention: key_lengths of shape {} does not broadcast to the batch axes (2,)."

# What is changed in a good call; the exception and its first line, all of it or up to "...";
# and what the other lines hold.
CASES: dict[str, tuple[dict[str, Any], type[Exception], str, tuple[str, ...]]] = {
    # Shapes of query, key and value.
    "query of rank 0": (
        {"query": QUERY[0, 0, 0, 0]}, ValueError, "attention: query has 0 axes.", ("(head_dim,)",),
    ),
    "key of rank 0": ({"key": KEY[0, 0, 0, 0]}, ValueError, "attention: key has 0 axes.", ()),
    "key of rank 1": (
        {"key": KEY[0, 0, 0]}, ValueError, "attention: key has 1 axis.", ("(head_dim=16)",),
    ),
    "value of rank 1": (
        {"value": VALUE[0, 0, 0]}, ValueError, "attention: value has 1 axis.", ("(value_dim=6)",),
    ),
    "head_dim": (
        {"key": KEY[..., :15]}, ValueError,
        "attention: query and key disagree on head_dim (16 vs 15).",
        (SHOW_QUERY, "head_dim=15)", "The last axis"),
    ),
    "head_dim 0": (
        {"query": QUERY[..., :0], "key": KEY[..., :0]}, ValueError,
        "attention: query and key have head_dim 0.", ("head_dim=0)",),
    ),
    "lengths of key and value": (
        {"value": VALUE[..., :9, :]}, ValueError,
        "attention: key and value disagree on length (10 vs 9).", (SHOW_KEY, "length=9,"),
    ),
    "heads of key and value": (
        {"value": VALUE[:, :2]}, ValueError,
        "attention: key and value disagree on heads (4 vs 2).", (SHOW_KEY, "heads=2,"),
    ),
    "heads of query": (
        {"key": KEY[:, :3], "value": VALUE[:, :3]}, ValueError,
        HEADS.format(3), (SHOW_QUERY, "heads=3,", "multiple"),
    ),
    "fewer heads of query": (
        {"query": QUERY[:, :2]}, ValueError,
        "attention: query has 2 heads and key has 4.", ("heads=2,", SHOW_KEY, "multiple"),
    ),
    "no kv heads": (
        {"key": KEY[:, :0], "value": VALUE[:, :0]}, ValueError, HEADS.format(0), ("heads=0,",),
    ),
    "batch of key": (
        {"key": KEY[[0, 1, 0]]}, ValueError, BATCH.format("2 vs 3"), (SHOW_QUERY, "batch=3,"),
    ),
    "batch of value": (
        {"value": VALUE[[0, 1, 0]]}, ValueError, BATCH.format("2 vs 3"), (SHOW_KEY, "batch=3,"),
    ),
    "batch of none": (
        {"value": VALUE[:0]}, ValueError, BATCH.format("2 vs 0"), ("batch=0,",),
    ),
    # Their dtypes, and what is no array.
    "dtype of key": (
        {"key": KEY.astype(float)}, TypeError,
        "attention: key has dtype float64 but query has float32.", (SHOW_QUERY, SHOW_VALUE),
    ),
    "dtype of value": (
        {"value": VALUE.astype(int)}, TypeError,
        "attention: value has dtype float64 but query has float32.", (SHOW_QUERY, SHOW_VALUE),
    ),
    "float64 beside float16": (
        {"query": QUERY.astype(np.float16), "value": VALUE.astype(np.float64)},
        TypeError, "attention: value has dtype float64 but query has float16.",
        ("head_dim=16) float16", "float64 goes with itself"),
    ),
    "complex": (
        {"query": QUERY.astype(np.complex64)}, TypeError,
        "attention: query has dtype complex64, shape (2, 8, 12, 16).", (TYPES,),
    ),
    "object": (
        {"key": KEY.astype(object)}, TypeError,
        "attention: key has dtype object, shape (2, 4, 10, 16).", (TYPES,),
    ),
    "strings": (
        {"value": VALUE.astype("U8")}, TypeError,
        "attention: value has dtype <U8, shape (2, 4, 10, 6).", (TYPES,),
    ),
    "dates": (
        {"key": KEY.astype("datetime64[s]")}, TypeError,
        "attention: key has dtype datetime64[s], shape (2, 4, 10, 16).", (),
    ),
    "other byte order": (
        {"key": KEY.astype(KEY.dtype.newbyteorder("S"))}, TypeError,
        "attention: key has the other byte order (dtype ...", ("newbyteorder('=')",),
    ),
    "ragged": (
        {"query": [[1.0], [1.0, 2.0]]}, TypeError,
        "attention: query cannot be made an array: ...", ("nested sequence",),
    ),
    "masked array": (
        {"key": np.ma.masked_less(KEY, 0)}, TypeError,
        "attention: key is a masked array.", ("mask=",),
    ),
    "other device": (
        {"value": OnAnotherDevice()}, TypeError,
        "attention: value is a OnAnotherDevice whose memory cannot be used: the tensor is on a "
        "GPU", ("on the CPU",),
    ),
    # causal and window.
    "causal": (
        {"causal": "up"}, ValueError, "attention: causal is 'up'.", ("lower_right", "upper_left"),
    ),
    "causal None": ({"causal": None}, ValueError, "attention: causal is None.", ("upper_left",)),
    "causal list": ({"causal": [True]}, ValueError, "attention: causal is [True].", ()),
    "window float": ({"window": 1.5}, TypeError, SIDES.format("1.5"), ("(left, right)",)),
    "window of floats": ({"window": (1.5, 0)}, TypeError, SIDES.format("(1.5, 0)"), ()),
    "window bool": ({"window": True}, TypeError, SIDES.format("True"), ()),
    "window string": ({"window": "ab"}, TypeError, SIDES.format("'ab'"), ()),
    "window of one": ({"window": (1,)}, ValueError, "attention: window has 1 sides.", ("both",)),
    "window of three": ({"window": (1, 2, 3)}, ValueError, "attention: window has 3 sides.", ()),
    # mask and bias.
    "mask of floats": (
        {"mask": ones(12, 10, dtype=float)}, TypeError, "attention: mask has dtype float64.",
        ("(queries=12, keys=10) float64", "bias="),
    ),
    "mask of integers": (
        {"mask": ones(12, 10, dtype=np.uint8)}, TypeError, "attention: mask has dtype uint8.", (),
    ),
    "mask of objects": (
        {"mask": ones(12, 10, dtype=object)}, TypeError,
        "attention: mask has dtype object, shape (12, 10).", ("bool",),
    ),
    "mask of a list of integers": (
        {"mask": [[1] * 10] * 12}, TypeError, "attention: mask has dtype int64...", ("bool",),
    ),
    "keys of mask": ({"mask": ones(12, 9)}, ValueError, MASK, ("keys=9)", SHOW_QUERY, SHOW_KEY)),
    "queries of mask": ({"mask": ones(11, 10)}, ValueError, MASK, ("queries=11,",)),
    "heads of mask": ({"mask": ones(4, 12, 10)}, ValueError, MASK, ("heads=4,", "of query")),
    "batch of mask": ({"mask": ones(3, 1, 1, 1)}, ValueError, MASK, ("batch=3,",)),
    "rank of mask": ({"mask": ones(1, 1, 1, 12, 10)}, ValueError, MASK, ("batch=1x1,",)),
    "empty mask": ({"mask": ones(12, 0)}, ValueError, MASK, ("keys=0)",)),
    "bias of float64": (
        {"bias": ones(12, 10, dtype=float)}, TypeError,
        "attention: bias has dtype float64 but query has float32.", ("bias.astype(np.float32)",),
    ),
    "bias of integers": (
        {"bias": ones(12, 10, dtype=int)}, TypeError,
        "attention: bias has dtype int64 but query has float32.", (SHOW_QUERY,),
    ),
    "bias of bools": (
        {"bias": ones(12, 10)}, TypeError,
        "attention: bias has dtype bool but query has float32.", ("mask=",),
    ),
    "bias of complex": (
        {"bias": ones(12, 10, dtype=complex)}, TypeError,
        "attention: bias has dtype complex128, shape (12, 10).", (),
    ),
    "bias of a list of bools": (
        {"bias": [True] * 10}, TypeError, "attention: bias has dtype bool.", ("mask=",),
    ),
    "keys of bias": (
        {"bias": ones(12, 9, dtype=np.float32)}, ValueError, BIAS,
        ("(queries=12, keys=9)", SHOW_QUERY, SHOW_KEY),
    ),
    "rank of bias": (
        {"bias": ones(1, 1, 1, 12, 10, dtype=np.float32)}, ValueError, BIAS, ("batch=1x1,",),
    ),
    # key_lengths.
    "key_lengths of floats": (
        {"key_lengths": [3.0, 4.0]}, TypeError, "attention: key_lengths has dtype float64.",
        ("integers",),
    ),
    "key_lengths of bools": (
        {"key_lengths": [True, False]}, TypeError, "attention: key_lengths has dtype bool.", (),
    ),
    "shape of key_lengths": (
        {"key_lengths": [3, 4, 5]}, ValueError, LENGTHS.format("(3,)"), (SHOW_QUERY, SHOW_KEY),
    ),
    "rank of key_lengths": ({"key_lengths": [[3, 4]]}, ValueError, LENGTHS.format("(1, 2)"), ()),
    "key_lengths < 0": (
        {"key_lengths": [3, -1]}, ValueError,
        "attention: key_lengths holds -1, outside 0 .. 10.", (SHOW_KEY,),
    ),
    "key_lengths > keys": (
        {"key_lengths": np.array([11, 3], np.int32)}, ValueError,
        "attention: key_lengths holds 11, outside 0 .. 10.", (SHOW_KEY,),
    ),
    "key_lengths beyond int64": (
        {"key_lengths": np.array([3, 2**64 - 1], np.uint64)}, ValueError,
        "attention: key_lengths holds ...", (SHOW_KEY,),
    ),
    # scale and num_threads.
    "scale nan": ({"scale": np.nan}, ValueError, "attention: scale is not finite.", ()),
    "scale inf": ({"scale": np.float32(np.inf)}, ValueError, "attention: scale is not finite.", ()),
    "scale beyond float": ({"scale": 10**400}, ValueError, "attention: scale is not finite.", ()),
    "scale string": ({"scale": "1"}, TypeError, "attention: scale is a str.", ("sqrt(head_dim)",)),
    "scale of other heads": (
        {"scale": [1.0] * 7}, ValueError, "attention: scale has 7 numbers for 8 heads.", ("query",),
    ),
    "scale bool": ({"scale": True}, TypeError, "attention: scale is a bool.", ()),
    "scale complex": ({"scale": 1j}, TypeError, "attention: scale is a complex.", ()),
    "scale NumPy's complex": (
        {"scale": np.complex64(1)}, TypeError, "attention: scale is a complex64.", (),
    ),
    "no threads": ({"num_threads": 0}, ValueError, "attention: num_threads is 0.", ("at least 1",)),
    "threads < 0": ({"num_threads": -2}, ValueError, "attention: num_threads is -2.", ()),
    "half a thread": ({"num_threads": 0.5}, TypeError, "attention: num_threads is 0.5.", ()),
    "threads bool": ({"num_threads": True}, TypeError, "attention: num_threads is True.", ()),
    "threads string": ({"num_threads": "all"}, TypeError, "attention: num_threads is 'all'.", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_before_anything_is_written(name):
    changes, exception, first, others = CASES[name]
    canary = np.full(OUT_SHAPE, 123.5, dtype=np.float32)
    arguments = {"query": QUERY, "key": KEY, "value": VALUE, "out": canary} | changes
    with pytest.raises(exception) as error:
        regard.attention(**arguments)
    message = str(error.value)
    first_line, *other_lines = message.split("\n")
    if first.endswith("..."):
        assert first_line.startswith(first[:-3]), message
    else:
        assert first_line == first, message
    # Every message says what to do, on lines of their own.
    assert other_lines, message
    assert all(line.startswith("  ") for line in other_lines), message
    for said in others:
        assert said in "\n".join(other_lines), message
    assert (canary == 123.5).all()


@pytest.mark.parametrize("name", CASES)
def test_explain_refuses_the_same(name):
    changes, exception, first, _ = CASES[name]
    arguments = {"query": QUERY, "key": KEY, "value": VALUE} | changes
    with pytest.raises(exception) as error:
        regard.explain(**arguments)
    said = first.removesuffix("...").replace("attention:", "explain:", 1)
    assert str(error.value).startswith(said)


def test_the_good_call_is_good():
    """What the cases change is all that is wrong with them."""
    out = np.full(OUT_SHAPE, 123.5, dtype=np.float32)
    regard.attention(QUERY, KEY, VALUE, out=out)
    assert not (out == 123.5).any()


def test_the_whole_of_a_message():
    with pytest.raises(ValueError, match="head_dim") as error:
        regard.attention(QUERY, KEY[..., :5], VALUE)
    assert str(error.value) == (
        "attention: query and key disagree on head_dim (16 vs 5).\n"
        "  query  (batch=2, heads=8, length=12, head_dim=16) float32\n"
        "  key    (batch=2, heads=4, length=10, head_dim=5)  float32\n"
        "  The last axis of query and key must match."
    )


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_shapes_are_shown_for_any_rank(rank):
    query = np.zeros((2, 3, 4, 5, 6)[-rank:], np.float32)
    shown = {2: "", 3: "heads=4, ", 5: "batch=2x3, heads=4, "}[rank]
    with pytest.raises(ValueError, match="head_dim") as error:
        regard.attention(query, query[..., :3], query)
    for head_dim in (6, 3):
        assert f"({shown}length=5, head_dim={head_dim}) float32" in str(error.value)


@pytest.mark.parametrize("option", ["window", "num_threads"])
def test_numbers_beyond_int64_are_no_limit(option):
    """2**70 keys or threads are more than there can be, not an error."""
    expected = regard.attention(QUERY, KEY, VALUE)
    got = regard.attention(QUERY, KEY, VALUE, **{option: 2**70})
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_options_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        regard.attention(QUERY, KEY, VALUE, True)
    with pytest.raises(TypeError, match="temperature"):
        regard.attention(QUERY, KEY, VALUE, temperature=0.5)
