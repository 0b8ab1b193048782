"""BlockMask and PackedMask as masks of a call: they mean what their dense arrays mean."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_same_bits, check, check_seen, make_problem, positions
from regard import masks

BLOCK_SIZES = [16, 48, 64, 128, 256]
# (queries, keys): smaller than a block, odd, next to the edges of blocks and of the kernels' tiles.
LENGTHS = [(1, 1), (1, 300), (70, 1), (50, 70), (130, 129), (193, 257)]


def blocky(rng, *shape, size=64) -> np.ndarray:
    """A mask with empty, full and mixed tiles, and rows that see nothing."""
    *lead, queries, keys = shape
    tiles = (*lead, -(-queries // size), -(-keys // size))
    density = np.kron(rng.choice([0, 0.5, 1], tiles), np.ones((size, size)))[..., :queries, :keys]
    mask = rng.random(shape) < density
    mask[..., queries // 2, :] = False
    return mask


def forms(mask: np.ndarray, block_size: int = 64) -> list:
    return [
        regard.PackedMask.from_dense(mask),
        regard.BlockMask.from_dense(mask, block_size=block_size),
    ]


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_block_mask_counts_as_its_dense_mask(isa, dtype, rng, lengths, block_size):
    queries, keys = lengths
    for size in (16, 64):
        mask = regard.BlockMask.from_dense(
            blocky(rng, queries, keys, size=size), block_size=block_size
        )
        check_seen(positions(rng, dtype, queries=queries, keys=keys, heads=2, mask=mask))
        check(make_problem(rng, queries=queries, keys=keys, heads=2, dtype=dtype, mask=mask))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_packed_mask_counts_as_its_dense_mask(isa, dtype, rng, lengths):
    queries, keys = lengths
    for density in (0.02, 0.5, 0.98):
        mask = regard.PackedMask.from_dense(rng.random((queries, keys)) < density)
        check_seen(positions(rng, dtype, queries=queries, keys=keys, heads=2, mask=mask))
        check(make_problem(rng, queries=queries, keys=keys, heads=2, dtype=dtype, mask=mask))


SHAPE = (2, 4, 66, 140)
# Of the axes before the last two; leading ones may be left out.
LEADS = [(), (1,), (4,), (1, 1), (2, 1), (1, 4), (2, 4)]


@pytest.fixture
def problem(rng, dtype):
    return make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=66, keys=140, head_dim=12, dtype=dtype
    )


@pytest.mark.parametrize("lead", LEADS)
def test_leading_axes_broadcast(isa, rng, problem, lead):
    """One mask for all, one for each element, for each query head of a group, or for each."""
    dense = blocky(rng, *lead, 66, 140, size=32)
    whole = np.broadcast_to(dense, SHAPE).copy()
    for mask, full in zip(forms(dense), forms(whole), strict=True):
        got = problem.but(mask=mask).output_and_lse()
        check(problem.but(mask=mask), got)
        assert_same_bits(problem.but(mask=full).output_and_lse(), got)


@pytest.mark.parametrize("shape", [(66, 1), (1, 140), (4, 1, 140), (2, 1, 1, 140), (2, 4, 66, 1)])
def test_packed_masks_broadcast_along_queries(isa, rng, problem, shape):
    dense = rng.random(shape) < 0.5
    if shape[-1] == 1:
        dense = np.broadcast_to(dense, (*shape[:-1], 140))
    check(problem.but(mask=regard.PackedMask.from_dense(dense)))


def test_packed_bits_of_any_strides(isa, rng, problem):
    bits = np.packbits(rng.random(SHAPE) < 0.5, axis=-1, bitorder="little")
    expected = problem.but(mask=regard.PackedMask(bits, 140)).output_and_lse()
    padded = np.full((2, 4, 66, bits.shape[-1] + 5), 0xFF, np.uint8)
    padded[..., 2:-3] = bits
    turned = np.ascontiguousarray(bits.swapaxes(1, 2)).swapaxes(1, 2)
    backwards = np.ascontiguousarray(bits[:, :, ::-1])[:, :, ::-1]
    for laid_out in (padded[..., 2:-3], turned, backwards, np.asfortranarray(bits)):
        mask = regard.PackedMask(laid_out, 140)
        assert_same_bits(problem.but(mask=mask).output_and_lse(), expected)


@pytest.mark.parametrize("batch", [(2, 3), (3, 1)])
def test_several_batch_axes(isa, rng, dtype, batch):
    problem = make_problem(rng, batch=batch, heads=2, queries=20, keys=70, dtype=dtype)
    for lead in ((), (*batch, 2), (batch[-1], 1), (*batch, 1)):
        for mask in forms(blocky(rng, *lead, 20, 70, size=16), block_size=16):
            check(problem.but(mask=mask))


OPTIONS = {
    "causal": lambda rng, dtype: {"causal": True},
    "upper_left": lambda rng, dtype: {"causal": "upper_left"},
    "window": lambda rng, dtype: {"window": (30, 5)},
    "bias": lambda rng, dtype: {
        "bias": np.where(rng.random((4, 66, 140)) < 0.3, -np.inf, 1).astype(dtype)
    },
    "key_lengths": lambda rng, dtype: {"key_lengths": [70, 139]},
    "both lengths": lambda rng, dtype: {"key_lengths": [70, 139], "query_lengths": [66, 9]},
    "query_offset": lambda rng, dtype: {"query_offset": [5, -20], "causal": True},
    "sinks": lambda rng, dtype: {"sinks": rng.standard_normal(4)},
    "scores": lambda rng, dtype: {"softcap": 1.0, "alibi_slopes": np.ones(4) / 8},
    "dropout": lambda rng, dtype: {"dropout": 0.4, "seed": 11},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_with_the_other_options(isa, rng, problem, dtype, option):
    options = OPTIONS[option](rng, dtype)
    for lead in ((), (2, 4)):
        for mask in forms(blocky(rng, *lead, 66, 140, size=32), block_size=32):
            check(problem.but(mask=mask, **options))


@pytest.mark.parametrize("size", [(66, 140), (140, 66), (1, 200)])
def test_ready_made_masks(isa, rng, dtype, size):
    queries, keys = size
    segments = np.sort(rng.integers(0, 5, max(size)))
    batched = np.sort(rng.integers(0, 5, (2, max(size))), axis=-1)
    patterns = [
        masks.causal(queries, keys, block_size=32),
        masks.prefix_lm(queries, keys, 20, block_size=32),
        masks.prefix_lm(queries, keys, [3, keys - 1], block_size=32),
        masks.documents(segments[:queries], segments[:keys], block_size=32),
        masks.documents(batched[:, :queries], batched[:, :keys], block_size=32),
        masks.sliding_window_global(queries, keys, 7, 3, block_size=32),
        masks.sliding_window_global(queries, keys, 0, [keys // 2], block_size=32),
        masks.dilated(queries, keys, 4, 3, block_size=32),
        masks.causal(queries, keys) & masks.dilated(queries, keys, 10, 2),
        ~masks.causal(queries, keys, block_size=32),
    ]
    for mask in patterns:
        check_seen(
            positions(rng, dtype, batch=(2,), heads=2, queries=queries, keys=keys, mask=mask)
        )
        check(make_problem(rng, batch=(2,), heads=2, queries=queries, keys=keys, dtype=dtype,
                           mask=mask))  # fmt: skip


def test_the_causal_pattern_is_causal(isa, rng, dtype):
    problem = make_problem(rng, heads=2, queries=130, keys=200, dtype=dtype)
    check(problem.but(causal=True), problem.but(mask=masks.causal(130, 200)).output_and_lse())


@pytest.mark.parametrize("form", [0, 1], ids=["packed", "block"])
@pytest.mark.parametrize("value", [False, True])
def test_masks_of_all_or_nothing(isa, rng, problem, value, form):
    mask = forms(np.full((66, 140), value))[form]
    out, lse = problem.but(mask=mask).output_and_lse()
    if value:
        check(problem, (out, lse))
    else:
        np.testing.assert_array_equal(out, np.zeros_like(out))
        np.testing.assert_array_equal(lse, np.full_like(lse, -np.inf))


@pytest.mark.parametrize("form", [0, 1], ids=["packed", "block"])
def test_threads_do_not_matter(isa, rng, dtype, form):
    problem = make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=300, keys=300, head_dim=64, dtype=dtype
    )
    problem = problem.but(mask=forms(blocky(rng, 4, 300, 300), block_size=128)[form])
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 5):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)


@pytest.mark.parametrize("form", [0, 1], ids=["packed", "block"])
def test_no_queries_or_keys_or_heads(isa, rng, dtype, form):
    for sizes in ({"queries": 0}, {"keys": 0}, {"heads": 0}, {"batch": (0,)}):
        problem = make_problem(rng, dtype=dtype, **sizes)
        check(problem.but(mask=forms(np.ones(problem.score_shape[-2:], bool))[form]))


def test_two_dimensional_inputs(isa, rng, dtype):
    problem = make_problem(rng, queries=20, keys=70, dtype=dtype)
    flat = problem.but(query=problem.query[0], key=problem.key[0], value=problem.value[0])
    for mask in forms(blocky(rng, 20, 70, size=16), block_size=16):
        check(flat.but(mask=mask))
