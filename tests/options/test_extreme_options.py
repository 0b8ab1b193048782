"""Options near the ends of their types: the value of the definition, or an error that names them.

The oracle counts positions in Python's integers and computes in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import regard
from bad_calls import check_message
from kv_caches import make, queries, rows
from regard import bias, reference

HEADS, QUERIES, KEYS, DIM = 2, 13, 20, 8
LAST, FIRST = 2**63 - 1, -(2**63)
OFFSETS = [LAST, LAST - KEYS, FIRST, FIRST + 5, 2**62, 2**61 + 3, -(2**61)]

# What counts from the positions; windows reach back among the keys from some of the offsets.
PLACES: dict[str, dict[str, Any]] = {
    "alone": {},
    "causal": {"causal": True},
    "window": {"window": (3, 4)},
    "far window": {"window": (LAST - 9, LAST - 7)},
    "windows of heads": {"window": (np.array([3, LAST]), np.array([LAST - 1, -1]))},
    "far windows of heads": {"window": (np.array([LAST - 3, 2**62]), None), "causal": True},
    "relative": {"position_bias": bias.Relative(np.arange(10.0).reshape(5, 2))},
    "T5": {"position_bias": bias.T5(np.arange(16.0).reshape(8, 2), max_distance=16)},
}


@pytest.fixture
def arrays(rng) -> list[np.ndarray]:
    return [
        rng.standard_normal((HEADS, length, DIM)).astype(np.float32)
        for length in (QUERIES, KEYS, KEYS)
    ]


def forward(q, k, v, **options):
    pairs = [regard.attention(q, k, v, return_lse=True, **options)]
    return pairs, [reference.attention(q, k, v, return_lse=True, **options)]


def decode(q, k, v, **options):
    return forward(q[:, :1], k, v, **options)


def varlen(q, k, v, **options):
    packed = [np.ascontiguousarray(x.swapaxes(0, 1)) for x in (q, k, v)]
    cuts = [0, 6, QUERIES], [0, 11, KEYS]
    got = regard.varlen_attention(*packed, *cuts, **options)
    return [(got,)], [(reference.varlen_attention(*packed, *cuts, **options),)]


def weights(q, k, v, **options):
    return [(regard.attention_weights(q, k, **options),)], [(reference.weights(q, k, **options),)]


def summary(q, k, v, **options):
    got, expected = regard.attention_summary(q, k, **options), reference.summary(q, k, **options)
    return [(got.lse, got.column_sums)], [(expected.lse, expected.column_sums)]


def vjp(q, k, v, **options):
    out, pull_back = regard.attention_vjp(q, k, v, **options)
    got, expected = pull_back(np.ones_like(out)), reference.gradients(
        np.ones(out.shape), q, k, v, **options
    )  # fmt: skip
    return [(got.query, got.key, got.value)], [(expected.query, expected.key, expected.value)]


def backward(q, k, v, **options):
    out, lse = regard.attention(q, k, v, return_lse=True, **options)
    got = regard.attention_backward(np.ones_like(out), q, k, v, out, lse, **options)
    expected = reference.gradients(np.ones(out.shape), q, k, v, **options)
    return [(got.query, got.key, got.value)], [(expected.query, expected.key, expected.value)]


def jvp(q, k, v, **options):
    moves = [np.ones_like(x) for x in (q, k, v)]
    got = regard.attention_jvp(q, k, v, *moves, **options)
    out, _, dout, _ = reference.attention_jvp(q, k, v, *moves, **options)
    return [got], [(out, dout)]


CALLS: dict[str, Callable[..., Any]] = {
    call.__name__: call
    for call in (forward, decode, varlen, weights, summary, vjp, backward, jvp)
}  # fmt: skip


def check(call: str, arrays, **options: Any) -> None:
    with np.errstate(over="ignore"):
        got, expected = CALLS[call](*arrays, **options)
    for one, other in zip(got, expected, strict=True):
        for x, y in zip(one, other, strict=True):
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", PLACES)
def test_offsets_at_the_ends(arrays, call, place):
    for offset in OFFSETS:
        check(call, arrays, query_offset=offset, **PLACES[place])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("side", [LAST, LAST - 1, 2**62, 2**61])
def test_windows_of_heads_at_the_end(arrays, call, side):
    check(call, arrays, window=(np.array([side, 2]), np.array([1, side])))
    check(call, arrays, window=np.array([side, side]), causal=True)


def test_offsets_at_the_ends_of_elements(rng):
    """Each batch element has its own, and unsigned numbers do not turn negative."""
    q, k, v = rng.standard_normal((3, 3, 2, KEYS, DIM)).astype(np.float32)
    for causal in (False, True):
        options = {"query_offset": np.array([LAST, 0, FIRST]), "causal": causal}
        np.testing.assert_allclose(
            regard.attention(q, k, v, **options), reference.attention(q, k, v, **options), atol=2e-6
        )
    huge = np.full(3, 2**64 - 1, np.uint64)
    np.testing.assert_array_equal(
        regard.attention(q, k, v, query_offset=huge, causal=True), regard.attention(q, k, v)
    )


@pytest.mark.parametrize("count", [1, 3])
def test_caches_take_offsets_at_the_ends(rng, count):
    key, value = rows(rng, 10)
    query = queries(rng, count)
    contiguous = make()
    contiguous.append(key, value)
    paged = regard.PagedKVCache(9, 4, 2, 8, "float32", value_dim=5)
    sequences = [paged.allocate() for _ in range(3)]
    starts = [0, 10, 20, 30]
    paged.append(
        sequences, *(np.concatenate(x.swapaxes(1, 2)) for x in (key, value)), starts
    )  # fmt: skip
    for offset in OFFSETS:
        options = {"query_offset": offset}
        expected = reference.attention(query, key, value, causal=True, **options)
        np.testing.assert_allclose(contiguous.attend(query, **options), expected, atol=2e-6)
        packed = np.concatenate(query.swapaxes(1, 2))
        got = paged.attend(sequences, packed, [count * n for n in range(4)], **options)
        by_head = got.reshape(3, count, 4, 5).swapaxes(1, 2)
        np.testing.assert_allclose(by_head, expected, atol=2e-6)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("offset", [LAST, FIRST, 2**40, -(2**40)])
def test_alibi_refuses_distances_that_it_cannot_tell_apart(arrays, call, offset):
    with pytest.raises(ValueError, match="query_offset") as error:
        CALLS[call](*arrays, query_offset=offset, alibi_slopes=[0.5, 0.25])
    check_message(error.value, "query_offset")
    assert str(offset) in str(error.value)


def test_alibi_tells_apart_what_the_type_does(arrays):
    """float64 counts further, and float32 up to 2**24."""
    slopes = {"alibi_slopes": [0.5, 0.25]}
    check("forward", [x.astype(float) for x in arrays], query_offset=2**36, **slopes)
    edge, slopes = 2**24 + KEYS - 1, {"alibi_slopes": [2.0**-22, -(2.0**-21)]}
    check("forward", arrays, query_offset=edge, **slopes)
    with pytest.raises(ValueError, match="query_offset"):
        regard.attention(*arrays, query_offset=edge + 1, **slopes)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("x", [1e300, -1e300, 3e38])
@pytest.mark.parametrize("option", ["scale", "alibi_slopes", "sinks"])
def test_numbers_that_float32_does_not_hold(arrays, call, option, x):
    if option == "sinks" and (x < 0 or call in ("weights", "summary")):
        x = 1e300
    for value in (x, np.array([0.5, x])) if option == "scale" else (np.array([0.5, x]),):
        with pytest.raises(ValueError, match=option) as error:
            CALLS[call](*arrays, **{option: value})
        check_message(error.value, option)
        assert "float32" in str(error.value)


def test_a_sink_far_below_is_none(arrays):
    check("forward", arrays, sinks=[-1e300, -3e38])
    check("vjp", arrays, sinks=[-1e300, 0.5])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cap", [1e300, 1e39, 2.5e38, 1e30, 1e-30, 1e-39, 1e-46, 1e-300, 5e-324])
def test_caps_tend_to_none_and_to_nothing(arrays, call, cap):
    check(call, arrays, softcap=cap)
    check(call, arrays, softcap=np.array([cap, 2.0]), causal=True)


@pytest.mark.parametrize("cap", [1.7e308, 1e300, 1e-300, 5e-324])
def test_caps_in_float64(arrays, cap):
    for call in CALLS:
        check(call, [x.astype(float) for x in arrays], softcap=cap)


def test_numbers_that_float64_does_not_hold(arrays):
    wide = [x.astype(float) for x in arrays]
    with pytest.raises(ValueError, match="float64") as error:
        regard.attention(*wide, scale=1.7e308)
    check_message(error.value, "scale")
    assert np.isfinite(regard.attention(*wide, scale=1e-300)).all()


def views(*shape: int) -> list[np.ndarray]:
    return [np.broadcast_to(np.float32(1), shape) for _ in range(3)]


MEMORY: dict[str, Callable[[], Any]] = {
    "forward": lambda: regard.attention(*views(2**40, 20, 16)),
    "softcap": lambda: regard.attention(*views(2**40, 20, 16), softcap=3.0),
    "alibi": lambda: regard.attention(*views(2**40, 2, 20, 16), alibi_slopes=[0.5, 0.25]),
    "lengths": lambda: regard.attention(*views(2**40, 2, 20, 16), key_lengths=5),
    "product beyond int64": lambda: regard.attention(
        views(2**31, 1, 2, 20, 16)[0], *views(1, 2**33, 2, 20, 16)[:2]
    ),
    "decode": lambda: regard.attention(*views(2**40, 2, 1, 16), causal=True),
    "weights": lambda: regard.attention_weights(*views(2**40, 20, 16)[:2]),
    "summary": lambda: regard.attention_summary(*views(2**40, 20, 16)[:2]),
    "vjp": lambda: regard.attention_vjp(*views(2**40, 20, 16)),
    "jvp": lambda: regard.attention_jvp(*views(2**40, 20, 16), views(2**40, 20, 16)[0]),
    "explain": lambda: regard.explain(*views(2**40, 20, 16)),
    "layout": lambda: regard.attention(*views(2**40, 20, 2, 16), layout="BSHD"),
}


@pytest.mark.parametrize("call", MEMORY)
def test_views_of_more_than_there_is_memory_for(call):
    with pytest.raises(MemoryError) as error:
        MEMORY[call]()
    first = str(error.value).split("\n")[0]
    assert "iB" in first, str(error.value)
    assert str(2**31 if "int64" in call else 2**40) in first, str(error.value)
    assert "heads=" in str(error.value) or "shape (" in first, str(error.value)
