"""The oracle's storage types, scales and pages, against the same numbers laid out plainly."""

from __future__ import annotations

import numpy as np
import pytest

from problems import assert_same_bits, make_problem
from regard import reference
from regard._bfloat16 import MARKER, carrier, narrowed, widened


@pytest.mark.parametrize("dtype", [MARKER, carrier()])
def test_bfloat16_is_taken_as_its_values(rng, dtype):
    problem = make_problem(rng, batch=(2,), heads=4, kv_heads=2)
    halves = [narrowed(x, dtype) for x in (problem.query, problem.key, problem.value)]
    wide = [widened(x) for x in halves]
    options = {"causal": True, "return_lse": True}
    expected = reference.attention(*wide, **options)
    assert_same_bits(reference.attention(*halves, **options), expected)
    # Mixed, and in other functions of the oracle.
    assert_same_bits(reference.attention(wide[0], *halves[1:], **options), expected)
    assert_same_bits(reference.weights(*halves[:2]), reference.weights(*wide[:2]))
    assert_same_bits(reference.scores(*halves[:2]), reference.scores(*wide[:2]))
    out = np.zeros(expected[0].shape, dtype)
    assert reference.attention(*halves, causal=True, out=out) is out
    np.testing.assert_array_equal(widened(out), widened(narrowed(expected[0], MARKER)))


def test_float16_is_taken_as_its_values(rng):
    problem = make_problem(rng, heads=2, dtype=np.float16)
    arrays = problem.query, problem.key, problem.value
    wide = (x.astype(np.float64) for x in arrays)
    assert_same_bits(reference.attention(*arrays), reference.attention(*wide))


def int8_rows(rng, *shape):
    x = rng.integers(-127, 128, shape).astype(np.int8)
    return x, rng.random(shape[:-1]).astype(np.float32)


def test_scales_multiply_rows(rng):
    query = rng.standard_normal((2, 4, 3, 8))
    (key, ks), (value, vs) = int8_rows(rng, 2, 2, 6, 8), int8_rows(rng, 2, 2, 6, 5)
    wide = key * ks[..., None].astype(float), value * vs[..., None].astype(float)
    expected = reference.attention(query, *wide, causal=True)
    scales = {"key_scales": ks, "value_scales": vs}
    assert_same_bits(reference.attention(query, key, value, causal=True, **scales), expected)
    expected = reference.attention(query, wide[0], value, causal=True)
    assert_same_bits(reference.attention(query, key, value, causal=True, key_scales=ks), expected)
    with pytest.raises(ValueError, match="broadcast"):
        reference.attention(query, key, value, key_scales=ks[..., :-1])


@pytest.mark.parametrize("with_scales", [False, True])
def test_pages_are_gathered(rng, with_scales):
    """Against loops: key j of element b lies in row j % 3 of page table[b][j // 3]."""
    (key, ks), (value, vs) = int8_rows(rng, 5, 3, 2, 8), int8_rows(rng, 5, 3, 2, 4)
    table, lengths = [[4, 1, -1], [1, 0, 2]], [5, 7]
    query = rng.standard_normal((2, 4, 2, 8))
    plain_key, plain_value = np.zeros((2, 2, 9, 8)), np.zeros((2, 2, 9, 4))
    for b in range(2):
        for j in range(lengths[b]):
            page, row = table[b][j // 3], j % 3
            for h in range(2):
                factors = (ks, vs) if with_scales else (np.ones((5, 3, 2)),) * 2
                plain_key[b, h, j] = key[page, row, h] * float(factors[0][page, row, h])
                plain_value[b, h, j] = value[page, row, h] * float(factors[1][page, row, h])
    scales = {"key_scales": ks, "value_scales": vs} if with_scales else {}
    options = {"causal": True, "key_lengths": lengths, "return_lse": True}
    got = reference.attention(query, key, value, block_table=table, **scales, **options)
    assert_same_bits(got, reference.attention(query, plain_key, plain_value, **options))
    weights = reference.weights(
        query, key, block_table=table, key_lengths=lengths,
        key_scales=ks if with_scales else None,
    )  # fmt: skip
    assert_same_bits(weights, reference.weights(query, plain_key, key_lengths=lengths))

    packed = rng.standard_normal((5, 4, 8))
    got, _ = reference.varlen_attention(
        packed, key, value, [0, 4, 5], None, block_table=table, **scales, **options
    )
    for b, rows in enumerate((slice(0, 4), slice(4, 5))):
        one = packed[rows].swapaxes(0, 1)[np.newaxis]
        keys = plain_key[b : b + 1, :, : lengths[b]], plain_value[b : b + 1, :, : lengths[b]]
        expected = reference.attention(one, *keys, causal=True)
        np.testing.assert_allclose(got[rows], expected[0].swapaxes(0, 1), rtol=0, atol=1e-12)


def test_misuse_of_pages(rng):
    query, pages = np.zeros((1, 1, 1, 4)), np.zeros((3, 2, 1, 4))
    for table, lengths, message in (
        ([[0, 1]], None, "needs key_lengths"),
        ([[0, 3]], [3], "must hold pages 0 .. 2"),
        ([[0, -2]], [3], "must hold pages 0 .. 2"),
        ([[0, -1]], [3], "no page for keys"),
        ([[0.0, 1.0]], [3], "must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            reference.attention(query, pages, pages, block_table=table, key_lengths=lengths)
