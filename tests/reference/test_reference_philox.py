"""Dropout's generator: the published answers, and words taken from the counters one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from regard.reference.philox import factors, philox4x32, threshold

# philox4x32-10 of kat_vectors in the authors' Random123: counter, key, words.
KNOWN = {
    "zeros": ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    "pi": (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers(case):
    counter, key, words = ([int(w, 16) for w in text.split()] for text in KNOWN[case])
    got = philox4x32(counter, key)
    assert got.dtype == np.uint32
    assert got.tolist() == words


def philox_in_plain_integers(counter, key):
    """The same ten rounds as the paper writes them: two multiplications, high and low halves."""
    c, k = list(counter), list(key)
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [
            (product1 >> 32) ^ c[1] ^ k[0],
            product1 % 2**32,
            (product0 >> 32) ^ c[3] ^ k[1],
            product0 % 2**32,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def test_agrees_with_plain_integers(rng):
    counters = rng.integers(0, 2**32, (5, 3, 4), dtype=np.uint64)
    keys = rng.integers(0, 2**32, (3, 2), dtype=np.uint64)
    got = philox4x32(counters, keys)
    for a, b in np.ndindex(5, 3):
        counter, key = (x.tolist() for x in (counters[a, b], keys[b]))
        assert got[a, b].tolist() == philox_in_plain_integers(counter, key)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32, 0x0123456789ABCDEF, 2**64 - 1])
def test_factors_come_from_the_words_of_their_place(seed):
    dropout, heads, queries, keys = 0.3, 2, 3, 9
    elements = np.array([[0, 5], [2, 1]])
    got = factors(dropout, seed, elements, (heads, queries, keys))
    for *e, h, i, j in np.ndindex(2, 2, heads, queries, keys):
        words = philox_in_plain_integers(
            (j // 4, i, h, int(elements[tuple(e)])), (seed % 2**32, seed // 2**32)
        )
        expected = 0 if words[j % 4] < threshold(dropout) else 1 / (1 - dropout)
        assert got[(*e, h, i, j)] == expected


def test_a_word_equal_to_the_threshold_is_kept():
    word = philox_in_plain_integers((0, 0, 0, 0), (7, 0))[0]
    place = (np.array([0]), (1, 1, 1))
    assert factors(word / 2**32, 7, *place) > 0
    assert factors((word + 1) / 2**32, 7, *place) == 0


def test_threshold():
    assert threshold(0.0) == 0
    assert threshold(0.5) == 2**31
    assert threshold(2.0**-32) == 1
    assert threshold(1 - 2.0**-53) == 2**32 - 1


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64, np.uint64])
def test_seeds_of_numpy_types(kind):
    place = (np.array([0]), (2, 3, 5))
    np.testing.assert_array_equal(
        factors(np.float32(0.5), kind(77), *place), factors(0.5, 77, *place)
    )


@pytest.mark.parametrize(
    ("dropout", "seed"), [(1.0, 0), (-0.1, 0), (np.nan, 0), (0.5, None), (0.5, -1), (0.5, 2**64)]
)
def test_bad_arguments(dropout, seed):
    with pytest.raises(ValueError, match="dropout"):
        factors(dropout, seed, np.array([0]), (1, 1, 1))
