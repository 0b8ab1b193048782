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


def bad_outs(dtype):
    """Name of the case: (the out, exception, first line of the message)."""
    name, other = np.dtype(dtype).name, "float64" if dtype == np.float32 else "float32"
    shape = "attention: out has shape {}; the result has (2, 3, 50, 18)."
    kind = "attention: out has dtype {}; the result is " + name + "."
    itself = "attention: out overlaps itself (shape (2, 3, 50, 18), strides ..."
    readonly = np.zeros(SHAPE, dtype)
    readonly.flags.writeable = False

    def strided(*steps):
        """A view whose strides are so many items."""
        strides = [step * np.dtype(dtype).itemsize for step in steps]
        return np.lib.stride_tricks.as_strided(np.zeros(6000, dtype), SHAPE, strides)

    return {
        "a list": (np.zeros(SHAPE).tolist(), TypeError, "attention: out is a list."),
        "wrong shape": (
            np.zeros((2, 3, 50, 17), dtype), ValueError, shape.format("(2, 3, 50, 17)"),
        ),
        "wrong rank": (np.zeros((3, 50, 18), dtype), ValueError, shape.format("(3, 50, 18)")),
        "too many axes": (
            np.zeros((1, *SHAPE), dtype), ValueError, shape.format("(1, 2, 3, 50, 18)"),
        ),
        "to be broadcast": (
            np.zeros((2, 3, 50, 1), dtype), ValueError, shape.format("(2, 3, 50, 1)"),
        ),
        "other float": (np.zeros(SHAPE, other), TypeError, kind.format(other)),
        "integer": (np.zeros(SHAPE, np.int32), TypeError, kind.format("int32")),
        "other byte order": (
            np.zeros(SHAPE, np.dtype(dtype).newbyteorder("S")), TypeError,
            "attention: out has dtype ...",
        ),
        "read-only": (readonly, ValueError, "attention: out is read-only."),
        "stride 0": (strided(0, 900, 18, 1), ValueError, itself),
        "all strides 0": (strided(0, 0, 0, 0), ValueError, itself),
        "rows overlap": (strided(2700, 900, 17, 1), ValueError, itself),
        "heads overlap": (strided(2700, 899, 18, 1), ValueError, itself),
    }  # fmt: skip


@pytest.mark.parametrize("case", bad_outs(np.float32))
def test_bad_out(problem, dtype, case):
    out, exception, first = bad_outs(dtype)[case]
    before = np.array(out)
    with pytest.raises(exception) as error:
        problem.attention(out=out)
    first_line, *other_lines = str(error.value).split("\n")
    assert first_line == first or (first[-3:] == "..." and first_line.startswith(first[:-3]))
    assert other_lines
    assert all(line.startswith("  ") for line in other_lines)
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
    kinds = {"mask": (np.bool_, items), "key_lengths": (np.int64, 2)}
    kind, count = kinds.get(name, (dtype, items))
    if name in kinds:
        store[...] = 0
    piece = store[start:].view(kind)[:count]
    if how == "reversed":
        piece = piece[::-1]
    arrays[name] = piece if name == "key_lengths" else piece.reshape(shape)
    before = store.copy()
    with pytest.raises(ValueError, match=f"^attention: out shares memory with {name}\\.\n  "):
        regard.attention(**arrays, out=out)
    np.testing.assert_array_equal(store, before)
