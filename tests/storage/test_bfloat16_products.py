"""Products of bfloat16 as they are (AVX512_BF16): what is special about them.

That they are right in any shape and under any options is tested where all ISAs are.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import regard
from problems import Problem, assert_same_bits, make_problem
from regard import _core
from storage_types import FLOATS, filled, rounded, values

ISA = "avx512_bf16"
BFLOAT16 = FLOATS["bfloat16"]

pytestmark = pytest.mark.skipif(ISA not in regard.available_isas(), reason=f"needs {ISA}")


@pytest.fixture(autouse=True)
def isa():
    with regard.set_isa(ISA):
        yield ISA


def make(rng, **sizes) -> Problem:
    problem = make_problem(rng, **sizes)
    names = ("query", "key", "value")
    return problem.but(**{n: rounded(getattr(problem, n), BFLOAT16) for n in names})


def on_avx512(problem: Problem):
    with regard.set_isa("avx512"):
        return problem.output_and_lse()


def product_dtype(problem: Problem) -> str:
    told = regard.explain(problem.query, problem.key, problem.value, **problem.options)
    assert told.kernel == f"{told.algorithm}/{ISA}/{told.product_dtype}"
    return told.product_dtype


def test_it_comes_first_on_amd_only():
    try:
        with open("/proc/cpuinfo") as file:
            vendor = re.search(r"vendor_id\s*:\s*(\S+)", file.read())
    except OSError:
        vendor = None
    if vendor is None:
        pytest.skip("/proc/cpuinfo does not name the vendor")
    isas = regard.available_isas()
    first = [ISA, "avx512"] if vendor[1] == "AuthenticAMD" else ["avx512", ISA]
    assert list(isas[:2]) == first


@pytest.mark.parametrize("other", ["query", "key", "value"])
def test_only_if_all_three_are_bfloat16(rng, other):
    """Else, and in decode, it is the float32 kernel of avx512, bit by bit."""
    problem = make(rng, heads=2, queries=40, keys=70, head_dim=24)
    assert product_dtype(problem) == "bfloat16"
    mixed = problem.but(**{other: values(getattr(problem, other)).astype(np.float32)})
    assert product_dtype(mixed) == "float32"
    assert_same_bits(mixed.output_and_lse(), on_avx512(mixed))
    decode = make(rng, heads=2, queries=1, keys=700, head_dim=24)
    assert product_dtype(decode) == "float32"
    assert_same_bits(decode.output_and_lse(), on_avx512(decode))


def test_explain_tells_what_is_copied(rng):
    for head_dim, keys in ((64, True), (63, False)):
        problem = make(rng, queries=40, keys=70, head_dim=head_dim)
        told = regard.explain(problem.query, problem.key, problem.value)
        assert (told.key_in_place, told.value_in_place) == (keys, False)


def test_ceiling():
    """Of dot products where there are some, else of the FMAs on widened numbers."""
    assert _core.ceiling(ISA, "bfloat16", 1) > 1
    ratio = _core.ceiling("avx512", "bfloat16", 1) / _core.ceiling("avx512", "float32", 1)
    assert 0.5 < ratio < 2
    with pytest.raises(ValueError, match="bfloat16"):
        _core.ceiling(ISA, "float16", 1)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": (9, 4)}])
def test_equal_values_come_through(rng, options):
    """The rounded weights are what is summed up and divided by."""
    problem = make(rng, heads=2, queries=150, keys=150, head_dim=32, **options)
    value = filled(problem.value.shape, 1.0, BFLOAT16)
    assert (values(problem.but(value=value).attention()) == 1).all()


def test_scales_do_not_round_queries_again(rng):
    """Logits of 1e4: queries times a scale in bfloat16 would be off by tens."""
    problem = make(rng, queries=60, keys=200, head_dim=64, scale=np.pi * 100)
    _, lse = problem.output_and_lse()
    np.testing.assert_allclose(lse, problem.oracle()[1], rtol=2**-20)


@pytest.mark.parametrize("left", range(6))
@pytest.mark.parametrize("right", [0, 1, 2, 5])
def test_pairs_do_not_depend_on_the_block(rng, left, right):
    """Keys are paired by their numbers: wherever blocks and windows begin, a row has one result."""
    problem = make(rng, queries=203, keys=203, head_dim=18, window=(left, right))
    whole = problem.output_and_lse()
    assert_same_bits(on_part(problem, 0, 203), whole)
    for first, last in ((1, 60), (7, 32), (100, 203), (33, 49)):
        rows = (..., slice(first, last))
        part = tuple(x[(*rows, *rest)] for x, rest in pair_axes(whole))
        assert_same_bits(on_part(problem, first, last), part)


def pair_axes(whole):
    output, lse = whole
    return (output, (slice(None),)), (lse, ())


def on_part(problem: Problem, first: int, last: int):
    part = problem.but(query=problem.query[..., first:last, :], query_offset=first)
    return part.output_and_lse()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("window", [(0, 0), (1, 0), (2, 1), (3, 5)])
@pytest.mark.parametrize("queries", [9, 16, 49, 130])
def test_the_other_of_a_pair_does_not_leak(rng, bad, window, queries):
    """A key and value that some queries must not see, next to those that they see."""
    problem = make(rng, queries=queries, keys=queries, head_dim=12, window=window)
    clean = problem.output_and_lse()
    for j in (0, 5, queries - 2):
        key, value = problem.key.copy(), problem.value.copy()
        key[..., j, :] = value[..., j, :] = rounded(np.array(bad), BFLOAT16)
        got = problem.but(key=key, value=value).output_and_lse()
        i = np.arange(queries)
        free = (j < i - window[0]) | (j > i + window[1])
        assert_same_bits(got[0][..., free, :], clean[0][..., free, :])
        assert_same_bits(got[1][..., free], clean[1][..., free])
        assert not np.isfinite(values(got[0][..., ~free, :])).any()


def test_subnormal_numbers_are_zero(rng):
    """As the instruction has it."""
    problem = make(rng, queries=20, keys=30, head_dim=8)
    value = problem.value.copy()
    value.view(np.uint16)[...] = 0x0040
    assert (values(problem.but(value=value).attention()) == 0).all()


@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_cosines_of_very_short_and_long_vectors(rng, size):
    """Norms may be anything in range, and their product need not be: cosines are for FMAs."""
    problem = make(rng, queries=20, keys=30, head_dim=16)
    problem = problem.but(
        query=rounded(values(problem.query) * np.float32(size), BFLOAT16),
        key=rounded(values(problem.key) * np.float32(size), BFLOAT16),
        similarity="cosine",
        scale=5.0,
    )
    assert product_dtype(problem) == "float32"
    assert_same_bits(problem.output_and_lse(), on_avx512(problem))
    assert np.isfinite(values(problem.attention())).all()
