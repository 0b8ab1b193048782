"""Position biases, each against its definition one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import regard
from regard.bias import T5, Grid, Relative


def looked_up(lowered, queries, keys, offset):
    """What the compiled core does with a lowered table."""
    table, kind = lowered["table"], lowered["kind"]
    bias = np.empty((len(table), queries, keys), table.dtype)
    for i, j in np.ndindex(queries, keys):
        if kind == "relative":
            w = table.shape[1] // 2
            at = min(max(j - (i + offset), -w), w) + w
        else:
            height, width = lowered["height"], lowered["width"]
            dy, dx = i // width - j // width, i % width - j % width
            at = (dy + height - 1) * (2 * width - 1) + dx + width - 1
        bias[:, i, j] = table[:, at]
    return bias


def check_lower(bias, queries, keys, offset=0):
    dense = bias.to_dense(queries, keys, offset)
    lowered = bias.lower(dense.shape[0], dense.dtype)
    assert lowered["table"].flags.c_contiguous
    assert lowered["table"].dtype == dense.dtype
    np.testing.assert_array_equal(looked_up(lowered, queries, keys, offset), dense)


@pytest.mark.parametrize("offset", [0, 5, -3, 100])
@pytest.mark.parametrize("reach", [0, 1, 4, 50])
def test_relative(rng, dtype, reach, offset):
    table = rng.standard_normal((2 * reach + 1, 3)).astype(dtype)
    bias = Relative(table)
    dense = bias.to_dense(7, 11, offset)
    assert dense.dtype == dtype
    assert dense.shape == (3, 7, 11)
    for h, i, j in np.ndindex(3, 7, 11):
        distance = max(-reach, min(reach, j - i - offset))
        assert dense[h, i, j] == table[distance + reach, h]
    check_lower(bias, 7, 11, offset)
    lowered = bias.lower(3, dtype)
    assert (lowered["kind"], lowered["height"], lowered["width"]) == ("relative", 0, 0)
    assert lowered["table"].shape == (3, 2 * reach + 1)


def single(x):
    """Round to float32."""
    return float(np.float32(x))


def hugging_face_bucket(relative_position, bidirectional, num_buckets, max_distance):
    """T5Attention._relative_position_bucket of one number, every step rounded to float32."""
    bucket = 0
    if bidirectional:
        num_buckets //= 2
        if relative_position > 0:
            bucket += num_buckets
        relative_position = abs(relative_position)
    else:
        relative_position = -min(relative_position, 0)
    max_exact = num_buckets // 2
    if relative_position < max_exact:
        return bucket + relative_position
    log = single(math.log(single(relative_position / max_exact)))
    share = single(log / single(math.log(max_distance / max_exact)))
    large = max_exact + int(single(share * (num_buckets - max_exact)))
    return bucket + min(large, num_buckets - 1)


def test_t5_buckets_of_the_published_models():
    """32 buckets up to a distance of 128, read off the definition: half are exact, then the edges
    are at 8 * 16 ** (n / 8) in both directions, and 16 * 8 ** (n / 16) in one."""
    buckets = T5(np.arange(32.0)).to_dense(1, 400, offset=200)[0, 0].astype(int)
    edges = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    distance = np.arange(400) - 200
    expected = np.searchsorted(edges, abs(distance), side="right") - 1 + 16 * (distance > 0)
    np.testing.assert_array_equal(buckets, expected)

    buckets = T5(np.arange(32.0), bidirectional=False).to_dense(1, 400, offset=200)[0, 0]
    edges = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    expected = np.searchsorted(edges, np.maximum(-distance, 0), side="right") - 1
    np.testing.assert_array_equal(buckets, expected)


@given(st.booleans(), st.integers(2, 40), st.integers(2, 300), st.integers(-50, 600))
def test_t5_is_hugging_face(bidirectional, half, max_distance, offset):
    num_buckets = 2 * half
    assume(max_distance > (half // 2 if bidirectional else half))
    bias = T5(np.arange(num_buckets, dtype=np.float64), bidirectional=bidirectional,
              max_distance=max_distance)  # fmt: skip
    dense = bias.to_dense(3, 600, offset)
    expected = [
        [
            hugging_face_bucket(j - i - offset, bidirectional, num_buckets, max_distance)
            for j in range(600)
        ]
        for i in range(3)
    ]
    np.testing.assert_array_equal(dense, [expected])
    check_lower(bias, 3, 600, offset)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("max_distance", [20, 100, 128, 1000])
def test_t5_lowers_to_the_shortest_table(bidirectional, max_distance):
    bias = T5(np.arange(32.0), bidirectional=bidirectional, max_distance=max_distance)
    (row,) = bias.lower(1, np.float64)["table"]
    reach = len(row) // 2
    assert reach <= max_distance
    assert row[0] != row[1] or row[-1] != row[-2]
    dense = bias.to_dense(1, 6001, offset=3000)[0, 0]
    assert (dense[: 3000 - reach + 1] == row[0]).all()
    assert (dense[3000 + reach :] == row[-1]).all()


def test_t5_over_heads(rng, dtype):
    table = rng.standard_normal((32, 5)).astype(dtype)
    dense = T5(table).to_dense(20, 30, offset=10)
    assert dense.dtype == dtype
    for h in range(5):
        one = T5(table[:, h]).to_dense(20, 30, offset=10)
        np.testing.assert_array_equal(dense[h], one[0])
    check_lower(T5(table), 20, 30, 10)


@pytest.mark.parametrize("window", [(1, 1), (7, 7), (3, 5), (1, 6)])
def test_grid(rng, dtype, window):
    """Swin's relative_position_index, built as in its publication."""
    height, width = window
    pixels = height * width
    table = rng.standard_normal(((2 * height - 1) * (2 * width - 1), 4)).astype(dtype)
    bias = Grid(table, height, width)
    dense = bias.to_dense(pixels, pixels)
    assert dense.dtype == dtype
    coordinates = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).reshape(2, -1)
    relative = (coordinates[:, :, np.newaxis] - coordinates[:, np.newaxis]).transpose(1, 2, 0)
    relative = relative + np.array([height - 1, width - 1])
    index = relative[..., 0] * (2 * width - 1) + relative[..., 1]
    np.testing.assert_array_equal(dense, table[index].transpose(2, 0, 1))
    check_lower(bias, pixels, pixels)
    lowered = bias.lower(4, dtype)
    assert (lowered["kind"], lowered["height"], lowered["width"]) == ("grid", height, width)


def test_grid_has_its_own_number_of_pixels():
    bias = Grid(np.zeros((15, 2)), 2, 3)
    for queries, keys, offset in ((5, 6, 0), (6, 5, 0), (6, 6, 1), (7, 7, 0)):
        with pytest.raises(ValueError, match="A window of 2 x 3 pixels has 6 of each"):
            bias.to_dense(queries, keys, offset)


BIASES = {
    "Relative": lambda *heads: Relative(np.zeros((9, *heads))),
    "T5": lambda *heads: T5(np.zeros((32, *heads))),
    "Grid": lambda *heads: Grid(np.zeros((15, *heads)), 2, 3),
}


@pytest.mark.parametrize("name", BIASES)
def test_heads_must_match(name):
    make = BIASES[name]
    assert make(4).lower(4, np.float32)["table"].shape[0] == 4
    assert make(4).lower(4, np.float32)["table"].dtype == np.float32
    assert make(1).lower(4, np.float32)["table"].shape[0] == 1
    assert make().lower(4, np.float32)["table"].shape[0] == 1
    with pytest.raises(ValueError, match="position_bias is for 3 heads, and query has 4"):
        make(3).lower(4, np.float32)


WRONG = {
    "even": (ValueError, lambda: Relative(np.zeros(4)), "table has 4 rows"),
    "none": (ValueError, lambda: Relative(np.zeros(0)), r"table has shape \(0,\)"),
    "no heads": (ValueError, lambda: T5(np.zeros((32, 0))), r"shape \(32, 0\)"),
    "three axes": (ValueError, lambda: Relative(np.zeros((3, 1, 1))), r"shape \(3, 1, 1\)"),
    "bool": (TypeError, lambda: Relative(np.zeros(3, bool)), "dtype bool"),
    "complex": (TypeError, lambda: Grid(np.zeros(9, complex), 2, 2), "dtype complex128"),
    "few buckets": (ValueError, lambda: T5(np.zeros(2)), "at least 4, and an even number"),
    "odd buckets": (ValueError, lambda: T5(np.zeros(31)), "table has 31 rows"),
    "one bucket": (ValueError, lambda: T5(np.zeros(1), bidirectional=False), "at least 2"),
    "distance": (ValueError, lambda: T5(np.zeros(32), max_distance=8), "more than 8"),
    "float": (TypeError, lambda: T5(np.zeros(32), max_distance=9.5), r"max_distance is 9\.5"),
    "grid": (ValueError, lambda: Grid(np.zeros(16), 2, 3), "= 15 for a window of 2 x 3"),
    "height": (ValueError, lambda: Grid(np.zeros(1), 0, 1), "height is 0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors(what):
    error, make, message = WRONG[what]
    with pytest.raises(error, match=message):
        make()


def test_added_to_scores(rng, dtype):
    """In attention, the same as the array that it stands for."""
    x = rng.standard_normal((2, 6, 8)).astype(dtype)
    dense = Relative(rng.standard_normal((5, 2))).to_dense(6, 6)
    out = regard.attention(x, x, x, bias=dense.astype(dtype))
    scores = x @ x.swapaxes(1, 2) / np.sqrt(8) + dense
    weights = np.exp(scores)
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(out, weights @ x, rtol=1e-4, atol=1e-5)
