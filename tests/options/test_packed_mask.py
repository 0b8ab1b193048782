"""`PackedMask`: one bit a position."""

from __future__ import annotations

import numpy as np
import pytest

import regard


@pytest.mark.parametrize("shape", [(0,), (9,), (1, 7), (5, 8), (3, 0), (0, 9), (2, 1, 4, 65)])
def test_round_trip(rng, shape):
    dense = rng.random(shape) < 0.4
    mask = regard.PackedMask.from_dense(dense)
    np.testing.assert_array_equal(mask.to_dense(), dense)
    assert mask.to_dense().dtype == np.bool_
    assert (mask.shape, mask.ndim, mask.keys) == (shape, len(shape), shape[-1])
    np.testing.assert_array_equal(mask.bits, np.packbits(dense, axis=-1, bitorder="little"))


def test_only_a_strided_last_axis_is_copied(rng):
    bits = rng.integers(0, 256, (4, 6, 8), dtype=np.uint8)
    for view in (bits, bits[::2], bits.transpose(1, 0, 2), np.broadcast_to(bits[:1], (4, 6, 8))):
        assert regard.PackedMask(view, 64).bits is view
    for view in (bits[..., ::-1], bits[..., ::2], np.broadcast_to(bits[..., :1], (4, 6, 8))):
        mask = regard.PackedMask(view, view.shape[-1] * 8)
        assert mask.bits.strides[-1] == 1
        np.testing.assert_array_equal(mask.bits, view)


def test_no_queries_whatever_the_strides(rng):
    query, key = rng.standard_normal((2, 0, 4)), rng.standard_normal((2, 20, 4))
    bits = np.zeros((2, 9, 3), np.uint8)[:, ::-1][:, :0]
    bits = np.lib.stride_tricks.as_strided(bits, (2, 0, 3), (0, 0, 7))
    out = regard.attention(query, key, key, mask=regard.PackedMask(bits, 20))
    assert out.shape == (2, 0, 4)


@pytest.mark.parametrize("keys", [-1, 0, 8, 17])
def test_bits_must_fit_keys(keys):
    with pytest.raises(ValueError, match=r"bits of shape \(3, 2\) do not hold"):
        regard.PackedMask(np.zeros((3, 2), np.uint8), keys)


def test_bits_beyond_the_keys_are_refused():
    bits = np.array([[0xFF, 0x07], [0xFF, 0x0F]], np.uint8)
    regard.PackedMask(bits, 12)
    with pytest.raises(ValueError, match="bits beyond key 10 are set"):
        regard.PackedMask(bits, 11)


def test_types_are_checked():
    with pytest.raises(TypeError, match="bits has dtype bool"):
        regard.PackedMask(np.zeros(1, bool), 8)
    with pytest.raises(TypeError, match="mask has dtype int64"):
        regard.PackedMask.from_dense(np.zeros(1, np.int64))
    with pytest.raises(TypeError, match=r"keys is 8\.0"):
        regard.PackedMask(np.zeros(1, np.uint8), 8.0)
    with pytest.raises(ValueError, match="mask has no axis"):
        regard.PackedMask.from_dense(True)
    with pytest.raises(ValueError, match="do not hold"):
        regard.PackedMask(np.uint8(0), 0)
