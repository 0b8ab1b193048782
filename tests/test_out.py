"""out=: written in place, every byte around it left alone, and refused where it cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_same_bits, make_problem

SHAPE = (2, 3, 50, 18)
CANARY = 0xA5


def _plain(store, dtype):
    return np.ndarray(SHAPE, dtype, store, offset=64)


def _bnhd(store, dtype):
    b, h, n, d = SHAPE
    return np.ndarray((b, n, h, d), dtype, store, offset=64).swapaxes(1, 2)


def _fortran(store, dtype):
    return np.ndarray(SHAPE, dtype, store, offset=64, order="F")


def _padded(store, dtype):
    return np.ndarray((*SHAPE[:-1], 23), dtype, store, offset=64)[..., 2:20]


def _every_other(store, dtype):
    return np.ndarray((*SHAPE[:-1], 36), dtype, store, offset=64)[..., ::2]


def _reversed(store, dtype):
    return _plain(store, dtype)[::-1, ::-1, ::-1, ::-1]


def _unaligned(store, dtype):
    return np.ndarray(SHAPE, dtype, store, offset=67)


def _field(store, dtype):
    record = np.dtype([("tag", np.int8), ("x", dtype), ("after", np.int16)])
    return np.ndarray(SHAPE, record, store, offset=64)["x"]


LAYOUTS = {
    f.__name__[1:]: f
    for f in (_plain, _bnhd, _fortran, _padded, _every_other, _reversed, _unaligned, _field)
}


@pytest.fixture
def problem(rng, dtype):
    return make_problem(
        rng, batch=(2,), heads=3, queries=50, keys=70, head_dim=16, value_dim=18, dtype=dtype
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_in_any_layout(isa, problem, dtype, layout):
    for each in (problem, problem.but(causal=True, window=(9, 0)), problem.but(key_lengths=0)):
        expected = each.output_and_lse()
        store = np.full(100_000, CANARY, dtype=np.uint8)
        out = LAYOUTS[layout](store, dtype)
        got, lse = each.output_and_lse(out=out)
        assert got is out
        assert_same_bits((np.ascontiguousarray(out), lse), expected)
        # With its own bytes set back to the canary's, nothing else has changed.
        out[...] = np.frombuffer(bytes([CANARY] * out.itemsize), dtype=dtype)[0]
        assert (store == CANARY).all()


def test_out_without_lse(isa, problem):
    out = np.full_like(problem.attention(), np.nan)
    assert problem.attention(out=out) is out
    assert_same_bits(out, problem.attention())


def test_what_out_held_does_not_matter(isa, problem):
    out = problem.attention()
    expected = out.copy()
    for held in (np.nan, np.inf, 0):
        out[...] = held
        problem.attention(out=out)
        assert_same_bits(out, expected)


@pytest.mark.parametrize("rank", [1, 2])
def test_out_of_low_rank(isa, rng, dtype, rank):
    query = rng.standard_normal((6,) if rank == 1 else (5, 6)).astype(dtype)
    key, value = (rng.standard_normal(shape).astype(dtype) for shape in ((7, 6), (7, 4)))
    expected = regard.attention(query, key, value, return_lse=True)
    out = np.zeros_like(expected[0])
    got, lse = regard.attention(query, key, value, out=out, return_lse=True)
    assert got is out
    assert_same_bits((out, np.asarray(lse)), (expected[0], np.asarray(expected[1])))


@pytest.mark.parametrize("empty", ["queries", "keys", "value_dim", "heads"])
def test_empty_out(isa, rng, dtype, empty):
    sizes = {"heads": 2, "queries": 3, "keys": 4, "head_dim": 5, "value_dim": 6, empty: 0}
    problem = make_problem(rng, dtype=dtype, **sizes)
    out = np.full((sizes["heads"], sizes["queries"], sizes["value_dim"]), np.nan, dtype=dtype)
    assert problem.attention(out=out) is out
    np.testing.assert_array_equal(out, np.zeros_like(out))


def test_out_next_to_the_inputs(isa, rng, dtype):
    """One allocation for all four; nearby is not overlapping."""
    store = rng.standard_normal((4, 2, 50, 16)).astype(dtype)
    expected = regard.attention(*store[:3].copy())
    regard.attention(*store[:3], out=store[3])
    assert_same_bits(store[3], expected)


def test_out_interleaved_with_the_inputs(isa, rng, dtype):
    """Columns of one array: the memory's bounds overlap, but no element does."""
    store = rng.standard_normal((2, 50, 4, 16)).astype(dtype)
    query, key, value, out = store.transpose(2, 0, 1, 3)
    expected = regard.attention(query.copy(), key.copy(), value.copy())
    assert regard.attention(query, key, value, out=out) is out
    assert_same_bits(np.ascontiguousarray(out), expected)


def bad_outs(problem, dtype):
    """Name of the case: (the out, exception, what the message says)."""
    readonly = np.zeros(SHAPE, dtype)
    readonly.flags.writeable = False
    other = np.float64 if dtype == np.float32 else np.float32
    overlapping = np.lib.stride_tricks.as_strided(
        np.zeros(SHAPE[0] * SHAPE[1] * 50 * 18, dtype), SHAPE,
        tuple(s * np.dtype(dtype).itemsize for s in (2700, 900, 9, 1)),
    )  # fmt: skip
    return {
        "a list": (np.zeros(SHAPE, dtype).tolist(), TypeError, "out"),
        "wrong shape": (np.zeros((*SHAPE[:-1], 17), dtype), ValueError, "(batch=2, heads=3"),
        "wrong rank": (np.zeros(SHAPE[1:], dtype), ValueError, "out"),
        "too many axes": (np.zeros((1, *SHAPE), dtype), ValueError, "out"),
        "would broadcast": (np.zeros((*SHAPE[:-1], 1), dtype), ValueError, "out"),
        "other float": (np.zeros(SHAPE, other), TypeError, np.dtype(other).name),
        "integer": (np.zeros(SHAPE, np.int32), TypeError, "int32"),
        "read-only": (readonly, ValueError, "read-only"),
        "zero stride": (
            np.lib.stride_tricks.as_strided(np.zeros(18, dtype), SHAPE, (0, 0, 0, 4)),
            ValueError,
            "overlap",
        ),
        "rows overlap": (overlapping, ValueError, "overlap"),
    }


@pytest.mark.parametrize("case", bad_outs(None, np.float32))
def test_bad_out(isa, problem, dtype, case):
    out, exception, says = bad_outs(problem, dtype)[case]
    before = np.array(out)
    with pytest.raises(exception) as error:
        problem.attention(out=out)
    first_line = str(error.value).splitlines()[0]
    assert first_line.startswith("attention: ") and "out" in first_line
    assert says in str(error.value)
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("name", ["query", "key", "value", "mask", "bias", "key_lengths"])
@pytest.mark.parametrize("how", ["same", "shifted", "reversed"])
def test_out_may_not_overlap_an_input(isa, rng, dtype, name, how):
    shape = (2, 2, 4, 4)
    items = int(np.prod(shape))
    store = rng.standard_normal(2 * items).astype(dtype)
    out = store[:items].reshape(shape)
    start = items // 2 if how == "shifted" else 0
    arrays = {n: rng.standard_normal(shape).astype(dtype) for n in ("query", "key", "value")}
    kinds = {"mask": (np.bool_, items), "key_lengths": (np.int32, 2)}
    kind, count = kinds.get(name, (dtype, items))
    if name in kinds:
        store[...] = 0
    piece = store[start:].view(kind)[:count]
    if how == "reversed":
        piece = piece[::-1]
    arrays[name] = piece if name == "key_lengths" else piece.reshape(shape)
    before = store.copy()
    with pytest.raises(ValueError) as error:
        regard.attention(**arrays, out=out)
    first_line = str(error.value).splitlines()[0]
    assert first_line.startswith("attention: ") and "out" in first_line and name in first_line
    np.testing.assert_array_equal(store, before)
