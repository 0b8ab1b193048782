"""The ready-made masks, each against its definition written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import regard
from block_mask_checks import MIB, check_fields, peak_bytes
from regard import masks

LENGTHS = [(1, 1), (16, 16), (15, 17), (33, 100), (100, 33), (97, 97), (1, 65), (65, 1), (0, 7),
           (7, 0), (0, 0)]  # fmt: skip


def positions(queries, keys):
    i, j = np.ogrid[:queries, :keys]
    return i + keys - queries, j


def check(mask, dense):
    assert mask.shape == dense.shape
    np.testing.assert_array_equal(mask.to_dense(), dense)
    check_fields(mask)


@pytest.mark.parametrize("size", [16, 128])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_causal(lengths, size):
    p, j = positions(*lengths)
    check(masks.causal(*lengths, block_size=size), j <= p)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_prefix_lm(lengths):
    p, j = positions(*lengths)
    for prefix in sorted({0, min(1, lengths[1]), lengths[1] // 2, lengths[1]}):
        check(masks.prefix_lm(*lengths, prefix, block_size=16), (j <= p) | (j < prefix))
    prefixes = np.arange(6).reshape(2, 3) * lengths[1] // 5
    dense = (j <= p) | (j < prefixes[..., np.newaxis, np.newaxis, np.newaxis])
    check(masks.prefix_lm(*lengths, prefixes, block_size=16), dense)


ids = st.lists(st.integers(-2, 4), max_size=70).map(lambda ids: np.array(ids, dtype=np.int32))


@given(ids, ids, st.booleans())
def test_documents(segments_q, segments_k, in_order):
    if in_order:
        segments_q, segments_k = np.sort(segments_q), np.sort(segments_k)
    dense = segments_q[:, np.newaxis] == segments_k
    check(masks.documents(segments_q, segments_k, block_size=16), dense)
    own = segments_q[:, np.newaxis] == segments_q
    check(masks.documents(segments_q, block_size=16), own)


def test_documents_of_a_batch(rng):
    segments_q, segments_k = (np.sort(rng.integers(0, 4, (2, 3, n))) for n in (50, 70))
    dense = segments_q[..., np.newaxis, :, np.newaxis] == segments_k[..., np.newaxis, np.newaxis, :]
    check(masks.documents(segments_q, segments_k, block_size=16), dense)


@pytest.mark.parametrize("window", [0, 1, 16, 40, 1000])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_sliding_window_global(lengths, window):
    p, j = positions(*lengths)
    last = max(0, lengths[1] - 1)
    for tokens in (0, 1, 3, 20, 1000, [], [0, last // 2, last], range(lengths[1])):
        places = range(tokens) if isinstance(tokens, int) else list(tokens) * (lengths[1] > 0)
        dense = (abs(p - j) <= window) | np.isin(p, list(places)) | np.isin(j, list(places))
        given_tokens = tokens if isinstance(tokens, int) else list(places)
        check(masks.sliding_window_global(*lengths, window, given_tokens, block_size=16), dense)


@pytest.mark.parametrize("dilation", [1, 2, 5, 64])
@pytest.mark.parametrize("window", [0, 1, 7, 50])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_dilated(lengths, window, dilation):
    p, j = positions(*lengths)
    dense = (abs(p - j) <= window * dilation) & ((p - j) % dilation == 0)
    check(masks.dilated(*lengths, window, dilation, block_size=16), dense)


def test_documents_and_causal_combine_over_a_batch():
    segments = np.array([[0, 0, 1, 1, 1], [3, 3, 3, 3, 5]])
    mask = masks.documents(segments) & masks.causal(5, 5)
    dense = (segments[:, :, np.newaxis] == segments[:, np.newaxis]) & np.tri(5, dtype=bool)
    check(mask, dense[:, np.newaxis])


LARGE = {
    "causal": lambda n: masks.causal(n, n),
    "prefix_lm": lambda n: masks.prefix_lm(n, n, [0, n // 2]),
    "documents": lambda n: masks.documents(np.arange(n) // 3000),
    "sliding_window_global": lambda n: masks.sliding_window_global(n, n, 512, 64),
    "dilated": lambda n: masks.dilated(n, n, 64, 4),
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_of_large_masks(name):
    """65536 x 65536 positions are 4 GiB in bool."""
    assert peak_bytes(lambda: LARGE[name](65536)) <= 48 * MIB


@pytest.mark.parametrize("name", ["causal", "prefix_lm", "documents", "sliding_window_global"])
def test_plain_tiles_are_not_evaluated(name, monkeypatch):
    """Only what the edges of the pattern cross."""
    from regard.masks import _tiling

    evaluated = []
    pack = _tiling.Tiling.pack
    monkeypatch.setattr(
        _tiling.Tiling,
        "pack",
        lambda self, values, tiles: evaluated.append(tiles) or pack(self, values, tiles),
    )
    mask = LARGE[name](16384)
    assert sum(evaluated) == len(mask.tiles)


WRONG = {
    "causal": (ValueError, lambda: masks.causal(-1, 4), "shape is"),
    "negative prefix": (ValueError, lambda: masks.prefix_lm(4, 4, -1), "reach from -1 to -1"),
    "long prefix": (ValueError, lambda: masks.prefix_lm(4, 4, [2, 5]), "reach from 2 to 5"),
    "float prefix": (TypeError, lambda: masks.prefix_lm(4, 4, 1.5), "prefix_lengths has dtype"),
    "float documents": (TypeError, lambda: masks.documents([0.5]), "segments_q has dtype"),
    "batch axes": (ValueError, lambda: masks.documents([[1]], [1]), "the same batch axes"),
    "no documents": (ValueError, lambda: masks.documents(3), "segments_q has shape"),
    "window": (ValueError, lambda: masks.sliding_window_global(4, 4, -1, 1), "window is -1"),
    "tokens": (ValueError, lambda: masks.sliding_window_global(4, 4, 1, [4]), "from 4 to 4"),
    "count": (ValueError, lambda: masks.sliding_window_global(4, 4, 1, -1), "global_tokens is -1"),
    "reach": (ValueError, lambda: masks.dilated(4, 4, -1, 1), "window is -1"),
    "dilation": (ValueError, lambda: masks.dilated(4, 4, 1, 0), "dilation is 0"),
    "block_size": (ValueError, lambda: masks.documents([1], block_size=8), "block_size is 8"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors(what):
    error, make, message = WRONG[what]
    with pytest.raises(error, match=message):
        make()


def test_exported():
    assert regard.masks is masks
    assert regard.masks.BlockMask is regard.BlockMask
