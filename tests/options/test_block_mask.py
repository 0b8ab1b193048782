"""`BlockMask`: its arrays, what it is made of, and its algebra."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import regard
from block_mask_checks import MIB, check_fields, peak_bytes
from regard import BlockMask


def tiled(seed, shape, size=16):
    """A mask of empty, full and mixed tiles."""
    rng = np.random.default_rng(seed)
    blocks = (-(-shape[-2] // size), -(-shape[-1] // size))
    share = rng.choice([0, 0.5, 1], (*shape[:-2], *blocks))
    share = share.repeat(size, -2).repeat(size, -1)[..., : shape[-2], : shape[-1]]
    return rng.random(shape) < share


SHAPES = [
    (1, 1), (16, 16), (15, 17), (50, 33), (1, 100), (100, 1), (0, 5), (5, 0), (0, 0),
    (3, 20, 40), (2, 3, 33, 20), (0, 9, 9), (2, 0, 9, 9), (1, 2, 0, 9),
]  # fmt: skip


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("shape", SHAPES)
def test_from_dense(shape, size):
    dense = tiled(1, shape)
    mask = BlockMask.from_dense(dense, block_size=size)
    assert (mask.shape, mask.ndim, mask.block_size) == (shape, len(shape), size)
    np.testing.assert_array_equal(mask.to_dense(), dense)
    check_fields(mask)
    assert mask.density == pytest.approx(dense.mean() if dense.size else 0)
    blocks = np.prod(shape[:-2], dtype=int) * -(-shape[-2] // size) * -(-shape[-1] // size)
    assert mask.block_density == (len(mask.indices) / blocks if blocks else 0)


def test_density_of_blocks():
    dense = np.zeros((40, 40), bool)
    dense[:16, :16] = True
    dense[20, 39] = True
    mask = BlockMask.from_dense(dense, block_size=16)
    assert mask.density == 257 / 1600
    assert mask.block_density == 2 / 9


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("lengths", [(1, 1), (33, 50), (300, 200), (0, 4)])
def test_from_function(shape, lengths):
    heads = 3
    shift = np.arange(12)

    def fn(b, h, i, j):
        assert b.shape == h.shape == (1, 1)
        assert i.shape == (i.size, 1)
        assert j.shape == (1, j.size)
        assert b.dtype == h.dtype == i.dtype == j.dtype == np.int64
        return (i * (h + 1) + shift[b] + j) % 5 < 2

    mask = BlockMask.from_function(fn, *lengths, batch=shape, heads=heads, block_size=32)
    flat = np.arange(np.prod(shape, dtype=int)).reshape(*shape, 1, 1, 1)
    h, i, j = np.ogrid[:heads, : lengths[0], : lengths[1]]
    expected = (i * (h + 1) + shift[flat] + j) % 5 < 2
    np.testing.assert_array_equal(mask.to_dense(), expected)
    check_fields(mask)


def test_from_function_may_leave_axes_out():
    assert BlockMask.from_function(lambda b, h, i, j: np.True_, 20, 30).to_dense().all()
    seen = BlockMask.from_function(lambda b, h, i, j: j % 2 == 0, 20, 30).to_dense()
    np.testing.assert_array_equal(seen, np.broadcast_to(np.arange(30) % 2 == 0, (1, 20, 30)))
    assert BlockMask.from_function(lambda b, h, i, j: i < b, 2, 3, batch=4).shape == (4, 1, 2, 3)


def test_from_function_reports_what_it_cannot_use():
    with pytest.raises(TypeError, match="fn returned int64"):
        BlockMask.from_function(lambda b, h, i, j: i - j, 4, 4)
    with pytest.raises(ValueError, match=r"fn returned shape \(3,\)"):
        BlockMask.from_function(lambda b, h, i, j: np.ones(3, bool), 4, 4)
    for error, options in (
        (ValueError, {"block_size": 24}),
        (ValueError, {"block_size": 0}),
        (TypeError, {"block_size": 16.0}),
        (ValueError, {"heads": -1}),
    ):
        with pytest.raises(error, match=r"BlockMask: (block_size|shape) is"):
            BlockMask.from_function(lambda b, h, i, j: i < j, 4, 4, **options)


leads = arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)


@given(leads, st.integers(0, 50), st.integers(0, 50), st.integers(0, 99))
def test_algebra_is_that_of_dense_masks(shapes, queries, keys, seed):
    one, other = (
        tiled(seed + n, (*lead, queries, keys)) for n, lead in enumerate(shapes.input_shapes)
    )
    a, b = (BlockMask.from_dense(dense, block_size=16) for dense in (one, other))
    for mask, expected in ((a & b, one & other), (a | b, one | other), (~a, ~one)):
        assert mask.shape == expected.shape
        np.testing.assert_array_equal(mask.to_dense(), expected)
        check_fields(mask)
    assert (a == b) == np.array_equal(one, other)
    assert ~~a == a
    assert a == BlockMask.from_dense(one, block_size=48)


def test_algebra_drops_tiles_that_become_empty_or_full():
    even = np.indices((20, 40)).sum(0) % 2 == 0
    a, b = (BlockMask.from_dense(dense, block_size=16) for dense in (even, ~even))
    assert len((a & b).indices) == 0
    assert ((a | b).partial == -1).all()
    assert len((a | b).tiles) == 0


def test_what_does_not_combine():
    mask = regard.masks.causal(40, 40, block_size=16)
    for other in (regard.masks.causal(40, 40), regard.masks.causal(40, 41, block_size=16)):
        with pytest.raises(ValueError, match="cut differently"):
            mask & other
    two, three = (BlockMask.from_dense(np.ones((n, 4, 4), bool)) for n in (2, 3))
    with pytest.raises(ValueError, match="do not broadcast"):
        two | three
    for other in (np.ones((40, 40), bool), True):
        for operation in (lambda a, b: a & b, lambda a, b: b | a):
            with pytest.raises(TypeError):
                operation(mask, other)


def test_equality():
    mask = BlockMask.from_dense(tiled(0, (2, 70, 90)), block_size=16)
    dense = mask.to_dense()
    dense[1, 69, 89] ^= True
    assert mask != BlockMask.from_dense(dense, block_size=16)
    assert mask != BlockMask.from_dense(dense, block_size=32)
    assert mask != BlockMask.from_dense(mask.to_dense()[np.newaxis], block_size=16)
    assert mask != 1
    assert pickle.loads(pickle.dumps(mask)) == mask
    with pytest.raises(TypeError, match="unhashable"):
        hash(mask)


def test_picture():
    dense = np.zeros((3, 70, 48), bool)
    dense[0, :32, :16] = True
    dense[0, 69, 20] = True
    facts, *lines = repr(BlockMask.from_dense(dense, block_size=16)).splitlines()
    assert lines == ["█··", "█··", "···", "···", "·▒·"]
    assert "blocks=3/45, full=2" in facts
    assert len(repr(BlockMask.from_dense(dense[:, :, :0])).splitlines()) == 1
    assert len(repr(BlockMask.from_dense(dense[:0])).splitlines()) == 1


def test_picture_of_a_large_mask_stays_small():
    """One character stands for several tiles, of which all, some or none are there."""
    _, *lines = repr(regard.masks.causal(64 * 16, 128 * 16, block_size=16)).splitlines()
    assert len(lines) == 32
    assert {len(line) for line in lines} == {64}
    for n, line in enumerate(lines):
        assert line == "█" * (32 + n) + "▒" + "·" * (31 - n)


# Each pair of tests below is of one mask with one thing wrong.
def fields(**changes):
    mask = BlockMask.from_dense(tiled(4, (2, 40, 40)), block_size=16)
    values = {name: getattr(mask, name) for name in ("indptr", "indices", "partial", "tiles")}
    return {"shape": mask.shape, **values, "block_size": 16, **changes}


def test_constructor_takes_what_it_shows():
    good = fields()
    mask = BlockMask(**good)
    np.testing.assert_array_equal(mask.to_dense(), tiled(4, (2, 40, 40)))
    assert mask.tiles is not good["tiles"]
    empty = BlockMask((2, 40, 40), np.zeros(7), [], [], np.empty((0, 16, 2)), block_size=16)
    assert not empty.to_dense().any()


def test_tiles_may_be_shared():
    """An alternating mask is one tile, whatever its size."""
    bits = np.packbits(np.indices((16, 16)).sum(0) % 2 == 0, axis=1, bitorder="little")
    mask = BlockMask((32, 32), [0, 2, 4], [0, 1, 0, 1], [0] * 4, bits[np.newaxis], block_size=16)
    np.testing.assert_array_equal(mask.to_dense(), np.indices((32, 32)).sum(0) % 2 == 0)
    assert mask.density == 0.5
    assert mask == BlockMask.from_dense(mask.to_dense())
    np.testing.assert_array_equal((~mask & mask).to_dense(), np.zeros((32, 32)))


def _edited(name, at, value):
    array = fields()[name].copy()
    array[at] = value
    return {name: array}


def _edge_tile_set_outside():
    mask = BlockMask.from_dense(tiled(4, (2, 40, 40)), block_size=16)
    rows = np.repeat(np.arange(6), np.diff(mask.indptr)) % 3
    edge = mask.partial[(mask.partial >= 0) & (rows == 2)][0]
    return _edited("tiles", (edge, 8, 0), 1)


WRONG = {
    "indptr has shape": lambda: {"indptr": [0, 1]},
    "partial has shape": lambda: {"partial": [-1]},
    "tiles has shape": lambda: {"tiles": np.zeros((1, 16, 16), np.uint8)},
    "indptr does not cut": lambda: _edited("indptr", 0, 1),
    "does not cut": lambda: _edited("indptr", -1, 1000),
    "cut the": lambda: _edited("indptr", 2, 10**12),
    "indices are not block columns below 3": lambda: _edited("indices", 0, 3),
    "indices are not": lambda: _edited("indices", 0, -1),
    "ascending": lambda: _edited("indices", slice(None), 0),
    "partial names tiles": lambda: _edited("partial", 0, 1000),
    "names tiles that are not there": lambda: _edited("partial", 0, -2),
    "tiles are empty": lambda: _edited("tiles", 0, 0),
    "full, or set": lambda: _edited("tiles", 0, 255),
    "outside the mask": _edge_tile_set_outside,
    r"shape is \(5,\)": lambda: {"shape": (5,)},
    r"shape is \(-1, 5\)": lambda: {"shape": (-1, 5)},
    "block_size is 20": lambda: {"block_size": 20},
}


@pytest.mark.parametrize("message", WRONG)
def test_constructor_refuses(message):
    with pytest.raises(ValueError, match=message):
        BlockMask(**fields(**WRONG[message]()))


def test_types_are_checked():
    with pytest.raises(TypeError, match=r"BlockMask\.from_dense: mask has dtype float64"):
        BlockMask.from_dense(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="shape is"):
        BlockMask.from_dense(np.zeros(4, bool))


def test_memory_of_a_function_does_not_grow_with_queries_times_keys():
    """16384 x 16384 positions are 256 MiB in bool."""
    near = peak_bytes(
        lambda: BlockMask.from_function(lambda b, h, i, j: abs(i - j) < 100, 16384, 16384)
    )
    assert near <= 24 * MIB


def test_memory_of_the_algebra_is_that_of_the_tiles():
    """16 GiB in bool, 2 MiB of tiles each."""
    causal = regard.masks.causal(131072, 131072)
    other = regard.masks.documents(np.arange(131072) // 5000)
    assert peak_bytes(lambda: causal & other) <= 64 * MIB
    assert peak_bytes(lambda: ~causal) <= 64 * MIB
