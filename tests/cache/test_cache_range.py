"""Numbers beyond the range of a cache's type: refused by name, or cut to the largest there is."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from cache_model import query_dtype
from file_caches import SIZES, zeros
from kv_caches import BATCH, DIM, KV_HEADS, VALUE_DIM, make, queries, rows
from paged_caches import make as make_paged
from regard import KVCache, PagedKVCache
from regard._bfloat16 import MARKER, narrowed
from regard.positions import Rope

FLOAT32, BFLOAT16 = float(np.finfo(np.float32).max), 255 * 2.0**120
LARGEST = {"float16": 65504.0, "bfloat16": BFLOAT16, "float32": FLOAT32, "int8": 3.4028233e38}
# Storage, type that is given, what just fits and to what it is rounded, what no longer does.
# A number fits if the next one behind the largest is farther away than the largest is.
EDGES = {
    "float16": ("float16", "float32", 65519.996, 65504.0, 65520.0),
    "float16 of float64": ("float16", "float64", 65519.9, 65504.0, 7e4),
    "float16 of bfloat16": ("float16", "bfloat16", 65280.0, 65280.0, 65536.0),
    "bfloat16": ("bfloat16", "float32", 3.396e38, BFLOAT16, 3.397e38),
    "bfloat16 of float64": ("bfloat16", "float64", 3.396e38, BFLOAT16, 1e300),
    "float32 of float64": ("float32", "float64", FLOAT32 * (1 + 2.0**-26), FLOAT32, 3.5e38),
    "int8": ("int8", "float32", 3.402823e38, 3.402823e38, FLOAT32),  # 127 times its scale is inf
    "int8 of float64": ("int8", "float64", 3.402823e38, 3.402823e38, 3.5e38),
}
SIGNS = pytest.mark.parametrize("sign", [1, -1])


def as_given(x, source):
    return narrowed(x, MARKER) if source == "bfloat16" else x.astype(source)


def one_number(rng, source, number, value=False):
    """Ordinary rows, and one number in element 1, head 0, token 2."""
    key, of_value = (x.astype(np.float64) for x in rows(rng, 4))
    (of_value if value else key)[1, 0, 2, 3] = number
    return as_given(key, source), as_given(of_value, source)


@pytest.mark.parametrize("edge", EDGES)
@SIGNS
def test_the_last_number_that_fits_and_the_next(rng, edge, sign):
    dtype, source, fits, becomes, beyond = EDGES[edge]
    cache = make(dtype)
    cache.append(*one_number(rng, source, sign * fits))
    np.testing.assert_allclose(cache.keys()[1, 0, 2, 3], sign * becomes, rtol=1e-6)
    before = [array.copy() for array in cache._state.storage.arrays()]
    for name in ("key", "value"):
        given = one_number(rng, source, sign * beyond, value=name == "value")
        shown = float(regard.to_float32(np.float32(sign * beyond))) if source == "float32" else None
        number = repr(shown if shown is not None else sign * float(beyond))
        with pytest.raises(ValueError, match=f"^append: {name} of batch element 1, head 0, token 2 "
                           f"is {number}, beyond {dtype}'s largest number "
                           f"{LARGEST[dtype]:.6g}.\n.*'saturate'".replace("+", r"\+")):  # fmt: skip
            cache.append(*given)
    assert cache.lengths.tolist() == [4] * BATCH
    for array, same in zip(cache._state.storage.arrays(), before, strict=True):
        np.testing.assert_array_equal(array.view("u1"), same.view("u1"))


@pytest.mark.parametrize("edge", EDGES)
@SIGNS
def test_saturation_changes_that_number_alone(rng, edge, sign):
    dtype, source, _, _, beyond = EDGES[edge]
    cache, plain = make(dtype, overflow="saturate"), make(dtype)
    key, value = one_number(rng, source, sign * beyond)
    cache.append(key, value)
    key = regard.to_float32(key).astype(np.float64) if source == "bfloat16" else key.copy()
    key[1, 0, 2, 3] = sign * LARGEST[dtype]
    plain.append(key, value)
    np.testing.assert_array_equal(cache.keys(), plain.keys())
    np.testing.assert_array_equal(cache.values(), plain.values())
    assert abs(cache.keys()[1, 0, 2, 3]) == pytest.approx(LARGEST[dtype], rel=1e-6)
    assert (cache.overflow, plain.overflow) == ("saturate", "raise")
    assert "overflow='saturate'" in repr(cache)
    assert cache.fork([1]).overflow == "saturate"


@pytest.mark.parametrize("overflow", ["raise", "saturate"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
def test_what_is_not_finite_is_stored(rng, dtype, overflow):
    """It is what was given. A row of int8 has no such numbers, and is NaN as a whole."""
    key, value = (x.astype(query_dtype(dtype)) for x in rows(rng, 3))
    key[0, 1, 0, 2], key[1, 0, 1, 0], value[2, 1, 2, 4] = np.inf, -np.inf, np.nan
    cache = make(dtype, overflow=overflow)
    cache.append(key, value)
    for got, given in ((cache.keys(), key), (cache.values(), value)):
        if dtype == "int8":
            of_rows = np.isfinite(given).all(axis=-1, keepdims=True)
            np.testing.assert_array_equal(np.isfinite(got), np.broadcast_to(of_rows, got.shape))
            assert not np.isinf(got).any()
        else:
            odd = ~np.isfinite(given)
            np.testing.assert_array_equal(got[odd], given[odd])
            assert np.isfinite(got[~odd]).all()


def test_a_rope_turns_what_is_not_finite(rng):
    """Both numbers of a pair are made of it, and neither was beyond the range."""
    key, value = rows(rng, 3)
    key[0, 1, 2, 1] = np.inf
    cache = make("float16")
    cache.append(key, value, Rope())
    assert np.argwhere(~np.isfinite(cache.keys())).tolist() == [[0, 1, 2, 1], [0, 1, 2, 5]]


def test_a_number_beyond_the_range_beside_a_nan_is_seen(rng):
    key, value = rows(rng, 3)
    key[0, 0, 0, 0], key[2, 1, 1, 1] = np.nan, 1e6
    with pytest.raises(ValueError, match="batch element 2, head 1, token 1 is 1000000"):
        make("float16").append(key, value)


def test_tokens_that_are_not_appended_do_not_matter(rng):
    key, value = rows(rng, 4)
    key[1, :, 2:], value[2, :, 1:] = 1e6, np.nan
    cache = make("float16")
    cache.append(key, value, lengths=[4, 2, 1])
    assert np.isfinite(cache.values()).all()
    with pytest.raises(ValueError, match="key of batch element 1, head 0, token 2"):
        cache.append(key, value, lengths=[4, 3, 1])
    assert cache.lengths.tolist() == [4, 2, 1]


def test_long_and_strided_blocks(rng):
    """Another way to look for the largest number, and its place."""
    cache = KVCache(1, 2, 8, 5000, "float16")
    x = rng.standard_normal((4000, 2, 8), dtype=np.float32)
    fine = np.ascontiguousarray(x.swapaxes(0, 1))
    x[3210, 1, 7] = -1e5
    for wrong in (x.swapaxes(0, 1), np.ascontiguousarray(x.swapaxes(0, 1))):
        with pytest.raises(ValueError, match="value of batch element 0, head 1, token 3210 is -1"):
            cache.append(fine, wrong)
    cache.append(fine, fine)
    assert cache.lengths == 4000


@pytest.mark.parametrize("source", ["float16", "bfloat16", "float32", "float64"])
def test_a_rope_may_carry_numbers_over_the_edge(rng, source):
    """Turned by 45 degrees and more, a pair of 60000 has a feature of up to 84853."""
    key = np.zeros((BATCH, KV_HEADS, 3, DIM), np.float32)
    key[1, 0, 2] = 59904.0  # which bfloat16 has as well
    key, value = as_given(key, source), rows(rng, 3)[1]
    rope = Rope(1.001)  # all pairs by about two radians at position 2
    make("float16").append(key, value)
    cache = make("float16")
    with pytest.raises(ValueError, match=r"key of batch element 1, head 0, token 2 is .*float16's"):
        cache.append(key, value, rope)
    assert not cache.lengths.any()
    saturated = make("float16", overflow="saturate")
    saturated.append(key, value, rope)
    got, expected = saturated.keys(), rope(regard.to_float32(key).astype(np.float64))
    assert np.abs(expected).max() > 65520
    np.testing.assert_allclose(got, np.clip(expected, -65504, 65504), rtol=2.0**-7, atol=40)


def test_a_rope_may_leave_the_type_of_the_key(rng):
    """Of a storage type that could have held the number."""
    key = np.full((BATCH, KV_HEADS, 3, DIM), 6e4, np.float16)
    value = rows(rng, 3)[1]
    with pytest.raises(ValueError, match=r"is -?inf, beyond float16's largest number 65504"):
        make("bfloat16").append(key, value, Rope(1.001))
    cache = make("float32", overflow="saturate")
    cache.append(key, value, Rope(1.001))
    assert np.abs(cache.keys()).max() == 65504
    with pytest.raises(ValueError, match="beyond float32's largest number"):
        make("float32").append(np.full(key.shape, 3e38, np.float32), value, Rope(1.001))


def test_rings_and_files(rng):
    ring = make("float16", window=4, overflow="saturate")
    strict = make("float16", window=4)
    for cache in (ring, strict):
        cache.append(*rows(rng, 30))
    before = strict.keys()
    key, value = rows(rng, 2)
    value[0, 0, 1, 0] = 1e5
    ring.append(key, value)
    assert ring.values()[0, 0, -1, 0] == 65504
    with pytest.raises(ValueError, match="value of batch element 0, head 0, token 1"):
        strict.append(key, value)
    np.testing.assert_array_equal(strict.keys(), before)

    buffer = zeros(dtype="float16")
    cache = KVCache(**SIZES, dtype="float16", buffer=buffer, overflow="saturate")
    cache.append(np.full((2, 2, 1, 8), 1e9), np.full((2, 2, 1, 6), -1e9))
    again = KVCache.open(buffer, overflow="saturate")
    again.append(np.full((2, 2, 1, 8), 1e9), np.full((2, 2, 1, 6), -1e9))
    assert (again.keys() == 65504).all()
    assert (again.values() == -65504).all()
    with pytest.raises(ValueError, match="beyond float16's largest number 65504"):
        KVCache.open(buffer).append(np.full((2, 2, 1, 8), 1e9), np.zeros((2, 2, 1, 6)))
    with pytest.raises(ValueError, match=r"KVCache.open: overflow is 3"):
        KVCache.open(buffer, overflow=3)


def test_pages(rng):
    cache = PagedKVCache(8, 4, KV_HEADS, DIM, "float16", value_dim=VALUE_DIM, overflow="saturate")
    strict = make_paged("float16")
    key = rng.standard_normal((7, KV_HEADS, DIM), dtype=np.float32)
    value = rng.standard_normal((7, KV_HEADS, VALUE_DIM), dtype=np.float32)
    key[4, 1, 2] = 1e5
    for one in (cache, strict):
        handles = [one.allocate() for _ in range(3)]
        if one is strict:
            with pytest.raises(ValueError, match="append: key of sequence 2, head 1, token 1 is 1"):
                one.append([handles[0], handles[2]], key, value, [0, 3, 7])
            assert one.lengths == dict.fromkeys(handles, 0)
            assert one.free_pages == one.pages
        else:
            one.append([handles[0], handles[2]], key, value, [0, 3, 7])
            assert one.keys(2)[1, 1, 2] == 65504
            np.testing.assert_array_equal(one.values(2), value[3:].astype(np.float16))
    assert "overflow='saturate'" in repr(cache)
    with pytest.raises(ValueError, match="PagedKVCache: overflow is None"):
        PagedKVCache(8, 4, 1, 4, overflow=None)


def test_nothing_becomes_nan_by_itself(rng):
    """What was seen before: a key of 7e4 in float16 made the whole output NaN."""
    cache = make("float16", overflow="saturate")
    key, value = rows(rng, 5)
    key[:, :, 1] = 7e4
    cache.append(key, value)
    assert np.isfinite(cache.attend(queries(rng, 1))).all()
