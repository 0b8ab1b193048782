"""Every storage type, alone and mixed: attention on exactly the numbers stored, rounded once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import regard
from layouts import LAYOUTS
from problems import Problem, assert_close, assert_same_bits, check, make_problem
from regard._bfloat16 import carrier
from storage_types import FLOATS, HALVES, bits, eps_of, filled, rounded, stored, values

FORWARD_BFLOAT16 = True  # see conftest.py

# Forward over tiles and blocks, and decode over chunks.
SIZES = {
    "forward": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 50, "keys": 140},
    "decode": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 1, "keys": 300},
}
KINDS = (*FLOATS, "int8")


def make(rng, names, **sizes) -> Problem:
    """A problem whose query, key and value are stored as named."""
    problem = make_problem(rng, **sizes)
    query, _ = stored(problem.query, names[0])
    key, key_scales = stored(problem.key, names[1])
    value, value_scales = stored(problem.value, names[2])
    scales = {"key_scales": key_scales, "value_scales": value_scales}
    given = {n: x for n, x in scales.items() if x is not None}
    return problem.but(query=query, key=key, value=value, **given)


def alike(name):
    return ("float32" if name == "int8" else name, name, name)


@pytest.fixture(params=SIZES)
def sizes(request):
    return SIZES[request.param]


@pytest.mark.parametrize("query", FLOATS)
@pytest.mark.parametrize("key", KINDS)
def test_every_mix(isa, rng, sizes, query, key):
    for value in KINDS:
        problem = make(rng, (query, key, value), head_dim=24, value_dim=20, **sizes)
        got = problem.output_and_lse()
        assert got[0].dtype == problem.query.dtype
        assert got[1].dtype == np.float32
        check(problem, got)
        check(problem.but(causal=True))


@pytest.mark.parametrize("head_dim", [*range(1, 35), 47, 48, 49, 63, 64, 65, 80, 96, 127, 128, 130])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8"])
def test_every_head_dim(isa, rng, name, head_dim):
    for queries, keys in ((19, 37), (1, 300), (3, 21)):
        check(make(rng, alike(name), queries=queries, keys=keys, head_dim=head_dim))
        check(make(rng, alike(name), queries=queries, keys=keys, head_dim=9, value_dim=head_dim))


@pytest.mark.parametrize("keys", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8"])
def test_every_number_of_keys(isa, rng, name, keys):
    for queries in (1, 2, 15, 16, 17, 49):
        for options in ({}, {"causal": True}, {"window": (5, 2)}):
            check(make(rng, alike(name), queries=queries, keys=keys, head_dim=18, **options))


@pytest.mark.parametrize("length", [200, 513, 1030])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8"])
def test_several_tiles(isa, rng, name, length):
    check(make(rng, alike(name), heads=2, queries=length, keys=length, head_dim=64, causal=True))
    check(make(rng, alike(name), queries=65, keys=length, head_dim=128))


@pytest.mark.parametrize("name", HALVES)
def test_error_in_units_of_the_output(isa, rng, name):
    """The promise: within 2 units of the output's precision, relative to the largest value."""
    for queries, keys in ((200, 500), (1, 4000)):
        problem = make(rng, alike(name), heads=4, queries=queries, keys=keys, head_dim=64)
        out = values(problem.attention())
        error = np.abs(out - problem.oracle()[0]).max()
        assert error <= 2 * eps_of(problem.query.dtype) * np.abs(problem.plain.value).max()


# One key: weight 1, so that the output is the value itself.


def one_key(query, value):
    """(n, D) values, of which each query sees its own only."""
    key = np.zeros((len(value), query.shape[-1]), query.dtype)
    return Problem(query, key, value, {"window": 0, "causal": "upper_left"})


@pytest.mark.parametrize("name", [*HALVES, "ml_dtypes"])
def test_every_value_comes_through(isa, name):
    """All 65,536 of them: subnormal numbers, zeros, infinities and NaN, those in their rows only.

    Each row has a bad neighbour that it does not see. The dot products of AVX512_BF16 have no
    subnormal numbers: there they count as 0.
    """
    value = np.arange(2**16, dtype=np.uint16).view(FLOATS[name]).reshape(1024, 64)
    # As keys of queries in blocks, and one by one.
    forward = one_key(filled((1024, 8), 0.5, FLOATS[name]), value)
    decode = Problem(forward.query[:, None, None], forward.key[:, None, None], value[:, None, None])
    for problem in (forward, decode):
        out = problem.attention().reshape(value.shape)
        expected = values(value)
        if problem is forward and isa == "avx512_bf16" and name != "float16":
            expected[np.abs(expected) < 2.0**-126] = 0
        np.testing.assert_array_equal(values(out), expected)


@pytest.mark.parametrize("name", [*HALVES, "ml_dtypes"])
def test_outputs_are_rounded_to_nearest_even(isa, rng, name):
    """From float32 values: ties, overflow to infinity, what becomes subnormal."""
    dtype = FLOATS[name]
    largest, smallest, step = {
        "float16": (65504.0, 2.0**-24, 2.0**-11),
    }.get(name, (float(np.finfo(np.float32).max), 2.0**-126, 2.0**-8))
    value = np.concatenate(
        [
            rng.standard_normal(2000) * np.exp2(rng.integers(-20, 14, 2000)),
            1 + step * np.arange(-64, 64),  # every other one is a tie
            [largest, -largest, largest * (1 - step / 4), smallest, 1.5 * smallest, 0.0, -0.0],
            [65519.0, 65520.0, 2.0**-25, 1.5 * 2.0**-25, 2.0**-14 * (1 - step / 2)],
        ]
    ).astype(np.float32)
    value = np.resize(value, (160, 16))
    out = one_key(filled((160, 8), 0.5, dtype), value).attention()
    assert_same_bits(np.abs(values(out)), np.abs(values(rounded(value, dtype))))


@pytest.mark.parametrize("name", [*HALVES, "ml_dtypes"])
def test_every_key_is_read_right(isa, name):
    """The score of a query of 1 is the key itself, and with one key so is the LSE."""
    key = np.arange(2**16, dtype=np.uint16).view(FLOATS[name]).reshape(-1, 1)
    key = key[np.abs(np.nan_to_num(values(key)[:, 0], nan=np.inf)) < 1e30]
    forward = one_key(filled(key.shape, 1.0, FLOATS[name]), key).but(key=key, scale=1.0)
    decode = Problem(*(x[:, None, None] for x in (forward.query, key, key)), {"scale": 1.0})
    some = np.s_[:: 97 if regard.active_isa() == "generic" else 7]
    forward = forward.but(query=forward.query[some], key=key[some], value=key[some])
    for problem in (forward, decode):
        _, lse = problem.output_and_lse()
        np.testing.assert_allclose(
            lse.ravel(), values(problem.key).ravel(), rtol=2**-21, atol=2**-23
        )


@pytest.mark.parametrize("of_bias", FLOATS)
@pytest.mark.parametrize("name", ["float32", *HALVES])
def test_bias_of_another_type(isa, rng, name, of_bias):
    """Whole, of one row and of one key, over keys that fill no vector."""
    for queries, keys in ((30, 22), (3, 5), (50, 140), (1, 300)):
        problem = make(rng, alike(name), heads=2, queries=queries, keys=keys, head_dim=16)
        bias = np.where(rng.random((queries, keys)) < 0.1, -np.inf, rng.random((queries, keys)))
        bias[:, 0] = 1
        bias = rounded(bias, FLOATS[of_bias])
        for part in (bias, bias[:1], bias[:, :1], bias[::-1, ::-1]):
            check(problem.but(bias=part))


@pytest.mark.parametrize("name", HALVES)
def test_large_scores(isa, rng, name):
    """Logits up to 1e4: the softmax is exact."""
    problem = make(rng, alike(name), queries=30, keys=90, head_dim=16)
    check(problem.but(scale=300.0))
    check(make(rng, alike(name), queries=1, keys=600, head_dim=16).but(scale=300.0))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(isa, rng, sizes, name, layout):
    problem = make(rng, alike(name), head_dim=20, value_dim=18, causal=True, **sizes)
    expected = problem.output_and_lse()
    other = {n: LAYOUTS[layout](getattr(problem, n)) for n in ("query", "key", "value")}
    assert_same_bits(problem.but(**other).output_and_lse(), expected)
    for one, array in other.items():
        assert_same_bits(problem.but(**{one: array}).output_and_lse(), expected)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("axis", range(4))
def test_zero_strides(isa, rng, sizes, name, axis):
    problem = make(rng, alike(name), head_dim=20, **sizes)
    for one in ("query", "key", "value"):
        array = getattr(problem, one)
        view = np.broadcast_to(array[(slice(None),) * axis + (slice(0, 1),)], array.shape)
        expected = problem.but(**{one: view.copy()}).output_and_lse()
        assert_same_bits(problem.but(**{one: view}).output_and_lse(), expected)


@pytest.mark.parametrize("name", KINDS)
def test_slices_at_odd_offsets(isa, rng, name):
    """Rows that begin anywhere within a vector, in a store that ends with them."""
    problem = make(rng, alike(name), queries=20, keys=70, head_dim=40)
    scales = [problem.options.get(n) for n in ("key_scales", "value_scales")]
    for first, last in itertools.product((0, 1, 3, 5), (37, 40)):
        cut = np.s_[..., first:last]
        part = problem.but(query=problem.query[cut], key=problem.key[cut], value=problem.value[cut])
        assert (part.options.get("key_scales") is None) == (scales[0] is None)
        whole = {n: getattr(part, n).copy() for n in ("query", "key", "value")}
        assert_same_bits(part.output_and_lse(), part.but(**whole).output_and_lse())
        check(part)


@pytest.mark.parametrize("name", [*FLOATS])
def test_out(isa, rng, sizes, name):
    problem = make(rng, alike(name), head_dim=16, value_dim=18, **sizes)
    expected = problem.output_and_lse()
    shape = expected[0].shape
    for layout in ("contiguous", "bnhd", "every other", "unaligned"):
        store = np.full(4 * expected[0].nbytes + 200, 0xA5, np.uint8)
        if layout == "bnhd":
            b, h, n, d = shape
            out = np.ndarray((b, n, h, d), expected[0].dtype, store, offset=64).swapaxes(1, 2)
        elif layout == "every other":
            wide = (*shape[:-1], 2 * shape[-1])
            out = np.ndarray(wide, expected[0].dtype, store, offset=64)[..., ::2]
        else:
            offset = 64 if layout == "contiguous" else 67
            out = np.ndarray(shape, expected[0].dtype, store, offset=offset)
        got, lse = problem.output_and_lse(out=out)
        assert got is out
        assert_same_bits((got.copy(), lse), expected)
        bits(out)[...] = (
            0 if layout == "unaligned" else np.uint64(0xA5A5A5A5A5A5A5A5).astype(f"u{out.itemsize}")
        )
        changed = np.count_nonzero(store != 0xA5)
        assert changed == (out.nbytes if layout == "unaligned" else 0)


@pytest.mark.parametrize("name", KINDS)
def test_masked_keys_do_not_matter(isa, rng, sizes, name):
    problem = make(rng, alike(name), head_dim=17, value_dim=19, **sizes)
    *batch, _, queries, keys = problem.score_shape
    unseen = rng.random((*batch, 1, 1, keys)) < 0.3
    for options in (
        {"mask": ~unseen},
        {"key_lengths": np.array([keys // 2, keys - 3])},
        {"window": (keys // 4, 3), "causal": "upper_left"},
        {"causal": True, "key_lengths": np.array([keys // 3 + 1, keys - 1])},
    ):
        masked = problem.but(**options)
        hidden = ~masked.seen_keys
        if queries > 1 or "causal" in options:
            assert hidden.any()
        expected = masked.output_and_lse()
        check(masked, expected)
        for bad in (np.nan, np.inf, -np.inf):
            if name == "int8":
                dirty = {
                    n: np.where(hidden, np.float32(bad), problem.options[n])
                    for n in ("key_scales", "value_scales")
                }
            else:
                dirty = {n: getattr(problem, n).copy() for n in ("key", "value")}
                for array in dirty.values():
                    array[hidden] = rounded(bad, array.dtype)
            assert_same_bits(masked.but(**dirty).output_and_lse(), expected)


@pytest.mark.parametrize("name", [*FLOATS])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_reach_the_rows_that_see_them(isa, rng, name, bad):
    for queries, keys in ((50, 140), (1, 300), (4, 300)):
        problem = make(
            rng, alike(name), heads=2, queries=queries, keys=keys, head_dim=17, causal=True
        )
        for one in ("key", "value"):
            array = getattr(problem, one).copy()
            array[0, keys - queries, 3] = rounded(bad, array.dtype)
            array[1, keys // 3, 5] = rounded(bad, array.dtype)
            check(problem.but(**{one: array}))


@pytest.mark.parametrize("name", FLOATS)
def test_threads_batch_and_repetition(isa, rng, sizes, name):
    problem = make(rng, alike(name), head_dim=64, causal=True, **sizes)
    expected = problem.output_and_lse(num_threads=1)
    for threads in (1, 2, 5, None):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)
    for b in range(2):
        alone = Problem(problem.query[b], problem.key[b], problem.value[b], problem.options)
        assert_same_bits(alone.output_and_lse(), tuple(x[b] for x in expected))


def test_both_kinds_of_bfloat16_are_one(isa, rng, sizes):
    problem = make(rng, alike("bfloat16"), head_dim=20, **sizes)
    out, lse = problem.output_and_lse()
    arrays = {n: getattr(problem, n).view(carrier()) for n in ("query", "key", "value")}
    other, same = problem.but(**arrays).output_and_lse()
    assert other.dtype == carrier()
    np.testing.assert_array_equal(bits(other), bits(out))
    np.testing.assert_array_equal(same, lse)


@pytest.mark.parametrize("name", HALVES)
def test_packed_pieces(isa, rng, name):
    arrays = [rounded(rng.standard_normal((70, h, 24)), FLOATS[name]) for h in (4, 2, 2)]
    cuts = [0, 3, 3, 50, 70]
    out, lse = regard.varlen_attention(*arrays, cuts, cuts, causal=True, return_lse=True)
    assert out.dtype == arrays[0].dtype
    assert lse.dtype == np.float32
    for first, last in itertools.pairwise(cuts):
        piece = Problem(*(x[first:last].swapaxes(0, 1) for x in arrays), {"causal": True})
        got = piece.output_and_lse()
        np.testing.assert_array_equal(bits(out[first:last].swapaxes(0, 1)), bits(got[0]))
        np.testing.assert_array_equal(lse[:, first:last], got[1])


def test_one_dimension_and_one_head(isa, rng):
    """A 1-D query is one query, and rank 2 is one head, of any type."""
    for name in ("float16", "bfloat16"):
        query, key, value = (rounded(rng.standard_normal((9, 6)), FLOATS[name]) for _ in range(3))
        out = regard.attention(query[0], key, value)
        assert out.shape == (6,)
        expected = regard.reference.attention(query[0], key, value)
        assert_close(out, expected, 3 * eps_of(out.dtype))
    key, scales = stored(rng.standard_normal((9, 6)), "int8")
    query = rng.standard_normal((3, 6)).astype(np.float32)
    check(Problem(query, key, key, {"key_scales": scales, "value_scales": scales}))


@pytest.mark.parametrize("name", [*FLOATS])
def test_empty_axes(isa, name):
    dtype = FLOATS[name]
    for queries, keys in ((0, 5), (4, 0), (0, 0), (1, 0)):
        query, key = np.zeros((2, queries, 8), dtype), np.zeros((2, keys, 8), dtype)
        out, lse = regard.attention(query, key, key, return_lse=True)
        assert out.dtype == dtype
        assert out.shape == (2, queries, 8)
        assert (bits(out) == 0).all()
        assert np.isneginf(lse).all()
