"""Whether the arrays of a `BlockMask` are what the core relies on, and what memory one takes."""

from __future__ import annotations

import tracemalloc

import numpy as np

MIB = 1 << 20


def check_fields(mask):
    """What the compiled core relies on, from the definition."""
    size = mask.block_size
    dense = mask.to_dense()
    dense = dense.reshape(np.prod(dense.shape[:-2], dtype=int), *dense.shape[-2:])
    indptr, indices, partial = [0], [], []
    tiles = iter(range(len(mask.tiles)))
    for element in dense:
        for i in range(0, mask.shape[-2], size):
            for j in range(0, mask.shape[-1], size):
                tile = element[i : i + size, j : j + size]
                if not tile.any():
                    continue
                indices.append(j // size)
                partial.append(-1 if tile.all() else next(tiles))
                if not tile.all():
                    whole = np.zeros((size, size), bool)
                    whole[: tile.shape[0], : tile.shape[1]] = tile
                    bits = np.packbits(whole, axis=1, bitorder="little")
                    np.testing.assert_array_equal(mask.tiles[partial[-1]], bits)
            indptr.append(len(indices))
    assert next(tiles, None) is None
    for name, expected, dtype in (
        ("indptr", indptr, np.int64),
        ("indices", indices, np.int32),
        ("partial", partial, np.int32),
    ):
        array = getattr(mask, name)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, np.array(expected, dtype))
    assert mask.tiles.dtype == np.uint8
    assert mask.tiles.shape[1:] == (size, size // 8)
    for array in (mask.indptr, mask.indices, mask.partial, mask.tiles):
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def peak_bytes(make):
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
