"""What the cases of the benchmark count, and the arrays they draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regard._bfloat16 import carrier
from regard.bench.case import TITLES
from regard.bench.cases import CASES
from small_cases import BACKWARD, BLOCKS, FULL, OPTION, SMALL, draw


def test_flops_of_a_full_problem() -> None:
    assert FULL.flops == 4 * 2 * 4 * 40 * 40 * 8


def test_causal_is_half_of_full() -> None:
    assert replace(FULL, causal=True).flops == FULL.flops / 2


def test_gradients_are_five_products_more() -> None:
    assert BACKWARD["causal"].flops == 3.5 * SMALL["causal"].flops


@pytest.mark.parametrize("width", [1, 7, 39, 40, 100])
def test_window_is_counted_exactly(width: int) -> None:
    i, j = np.indices((40, 40))
    seen = np.count_nonzero((j <= i) & (j > i - width))
    assert replace(FULL, causal=True, window=width).pairs == seen


@pytest.mark.parametrize(("density", "tiles"), [(0.5, 4), (0.4, 4), (0.1, 3), (1.0, 9)])
def test_blocks_are_counted_exactly(density: float, tiles: int) -> None:
    case = replace(BLOCKS, density=density)
    mask = draw(case).more["mask"].to_dense()
    assert mask.shape == (2, 4, 384, 384)
    assert mask.any(axis=-1).all()
    assert (np.count_nonzero(mask, axis=(2, 3)) == case.pairs).all()
    assert case.pairs == tiles * 128**2


@pytest.mark.parametrize("mask", ["padding mask", "random mask"])
def test_padding_is_not_counted_and_random_masks_are(mask: str) -> None:
    drawn = draw(SMALL[mask]).mask
    assert drawn is not None
    seen = np.broadcast_to(drawn, (2, 4, 40, 40))
    counted = np.count_nonzero(seen) / 8 if mask == "padding mask" else 40 * 40
    assert SMALL[mask].pairs == counted


def test_latent_values_are_columns_of_the_keys() -> None:
    case = replace(SMALL["decode int8"], group="latent", latent=5)
    assert case.flops == 2 * case.batch * case.heads * case.key_length * (case.head_dim + 5)
    assert case.bytes == SMALL["decode int8"].bytes / 2
    drawn = draw(case)
    assert np.shares_memory(drawn.key, drawn.value)
    assert drawn.value.shape[-1] == case.value_dim == 5
    assert case.shape.endswith(f"x{case.head_dim}/5")


def test_bytes_of_a_cache() -> None:
    rows = 2 * 2 * 2 * 40  # of keys and values
    assert SMALL["decode"].bytes == rows * 8 * 4
    assert SMALL["decode bfloat16"].bytes == SMALL["decode float16"].bytes == rows * 8 * 2
    assert SMALL["decode int8"].bytes == rows * (8 + 4)
    drawn = draw(SMALL["decode int8"])
    held = [drawn.key, drawn.value, drawn.more["key_scales"], drawn.more["value_scales"]]
    assert sum(x.nbytes for x in held) == SMALL["decode int8"].bytes


def test_causal_cases_are_square() -> None:
    with pytest.raises(ValueError, match="must be square"):
        replace(FULL, causal=True, length=10)


def test_options_are_causal_and_block_masks_are_not() -> None:
    with pytest.raises(ValueError, match="options are causal"):
        replace(OPTION, option="softcap", causal=False)
    with pytest.raises(ValueError, match="options are causal"):
        replace(BLOCKS, causal=True)
    with pytest.raises(ValueError, match="of whole tiles"):
        replace(BLOCKS, length=40, key_length=40)
    with pytest.raises(ValueError, match="gradients by options add up"):
        replace(BACKWARD["sinks"], batch=2)


def test_every_option_has_a_case() -> None:
    cases = [case for case in CASES if case.group == "options"]
    compiled = {"score-mod"}  # by Numba, where that is
    assert {case.option for case in cases} | compiled == set(TITLES)
    assert [case.density for case in cases if case.option == "blocks"] == [0.5, 0.25, 0.1]


def test_case_names_are_unique_and_all_have_a_shape() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.title for case in CASES} >= {
        "1x8x1024x64",
        "1x16/4x2048x128 causal",
        "1x8x1024x64 BNHD strides",
        "1x8x4096x64 window 128",
        "1x32/8x1:4096x128",
        "8x32/8x1:4096x128 int8 cache",
        "1x8x4096x64 causal bfloat16",
        "1x8x4096x64 causal T5 bias",
        "1x8x4096x64 block mask 25 %",
        "1x8x4096x128 causal gradients",
        "1x1x8192x64 gradients",
        "1x8x1024x64 causal softcap gradients",
        "1x1x4x2",
    }


def test_inputs_have_the_layout_and_dtype_of_the_case() -> None:
    strided = draw(SMALL["strides"]).query
    assert strided.shape == (2, 4, 40, 8)
    assert strided.transpose(0, 2, 1, 3).flags.c_contiguous
    assert draw(SMALL["float64"]).query.dtype == np.float64
    assert draw(FULL).key.shape == (2, 2, 40, 8)
    assert draw(SMALL["bfloat16"]).value.dtype == carrier()
    assert draw(SMALL["float16 causal"]).query.dtype == np.float16
    eight_bits = draw(SMALL["decode int8"])
    assert eight_bits.query.dtype == np.float32
    assert eight_bits.key.dtype == eight_bits.value.dtype == np.int8
    padding = draw(SMALL["padding mask"]).mask
    assert padding is not None
    assert padding.shape == (2, 1, 1, 40)
