"""Keys and values in pages: bitwise what they give in one piece, and no page that is not there."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from layouts import LAYOUTS
from pages import into_pages, paged, rubbish
from problems import Problem, assert_same_bits, check, make_problem
from storage_types import stored

FORWARD_BFLOAT16 = True  # see conftest.py

PAGE_SIZES = [1, 3, 16, 64, 256]
KINDS = ("float32", "float16", "bfloat16", "ml_dtypes", "int8")
# Decode and several queries of the decode kernel; blocks of queries of the other one.
SIZES = {
    "decode": {"heads": 4, "queries": 1, "keys": 600, "head_dim": 24},
    "few queries": {"heads": 4, "queries": 3, "keys": 520, "head_dim": 20},
    "prefill": {"heads": 4, "queries": 70, "keys": 270, "head_dim": 33},
}


def make(rng, kind, size, **options) -> Problem:
    problem = make_problem(rng, batch=(3,), kv_heads=2, **SIZES[size])
    key, key_scales = stored(problem.key, kind)
    value, value_scales = stored(problem.value[..., :18], kind)
    query = problem.query if kind == "int8" else stored(problem.query, kind)[0]
    scales = {"key_scales": key_scales, "value_scales": value_scales} if kind == "int8" else {}
    keys = key.shape[2]
    lengths = {"key_lengths": np.array([keys, keys - 259, keys // 2])}
    return problem.but(query=query, key=key, value=value, **lengths, **scales, **options)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_as_in_one_piece(isa, rng, kind, size, page_size):
    problem = make(rng, kind, size, causal=True)
    expected = problem.output_and_lse()
    check(problem, expected)
    in_pages = paged(rng, problem, page_size)
    assert_same_bits(in_pages.output_and_lse(), expected)
    for threads in (1, 2, 5):
        assert_same_bits(in_pages.output_and_lse(num_threads=threads), expected)


@pytest.mark.parametrize("size", SIZES)
def test_float64(isa, rng, size):
    problem = make_problem(rng, batch=(2,), kv_heads=2, dtype=np.float64, **SIZES[size])
    assert_same_bits(paged(rng, problem, 16).output_and_lse(), problem.output_and_lse())


def options_of(rng, problem, blocks_of=0):
    """Options that count keys; `blocks_of` is the number of keys that pages have room for."""
    *_, queries, keys = problem.score_shape
    whole = blocks_of or keys
    mask = np.zeros((3, 4, queries, whole), bool)
    mask[..., :keys] = rng.random((3, 4, queries, keys)) < 0.6
    bias = np.full((4, queries, whole), np.nan, np.float32)
    bias[..., :keys] = rng.standard_normal((4, queries, keys))
    return {
        "plain": {},
        "window": {"window": (300, 2), "causal": True},
        "upper_left": {"causal": "upper_left"},
        "query_lengths": {"query_lengths": np.array([queries, 1, queries]), "causal": True},
        "query_offset": {"query_offset": np.array([5, keys - 2, 100]), "causal": True},
        "mask": {"mask": mask},
        "packed mask": {"mask": regard.PackedMask.from_dense(mask)},
        "block mask": {"mask": regard.BlockMask.from_dense(mask, block_size=32)},
        "bias": {"bias": bias},
        "scores": {
            "scale": np.array([0.1, 0.3, -0.2, 0.0]),
            "softcap": 3.0,
            "alibi_slopes": regard.alibi_slopes(4),
            "sinks": np.array([0.0, 1.0, -np.inf, 2.0]),
            "position_bias": regard.bias.T5(rng.standard_normal((32, 4))),
        },
        "cosine": {"similarity": "cosine", "scale": 5.0},
        "dropout": {"dropout": 0.3, "seed": 7},
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", options_of(np.random.default_rng(), make_problem(
    np.random.default_rng(), batch=(3,), heads=4)))  # fmt: skip
def test_options_count_keys_and_not_pages(isa, rng, size, option):
    problem = make(rng, "bfloat16", size)
    keys = problem.score_shape[-1]
    whole = -(-keys // 16) * 16
    seed = int(rng.integers(2**32))
    options, of_pages = (
        options_of(np.random.default_rng(seed), problem, n)[option] for n in (keys, whole)
    )
    expected = problem.but(**options).output_and_lse()
    check(problem.but(**options), expected)
    in_pages = paged(rng, problem, 16).but(**of_pages)
    if option == "query_offset" or "causal" not in options:
        assert in_pages.score_shape[-1] == whole
    assert_same_bits(in_pages.output_and_lse(), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int16])
def test_dtype_of_the_table(isa, rng, dtype):
    problem = make(rng, "float32", "decode")
    problem = problem.but(key_lengths=np.full(3, 600))
    expected = problem.output_and_lse()
    in_pages = paged(rng, problem, 16, dtype=dtype)
    assert in_pages.options["block_table"].dtype == dtype
    assert_same_bits(in_pages.output_and_lse(), expected)
    as_list = in_pages.but(block_table=in_pages.options["block_table"].tolist())
    assert_same_bits(as_list.output_and_lse(), expected)


def test_layout_of_the_table(isa, rng):
    in_pages = paged(rng, make(rng, "float32", "decode"), 16)
    expected = in_pages.output_and_lse()
    table = in_pages.options["block_table"]
    for name, layout in LAYOUTS.items():
        if name != "field":
            assert_same_bits(in_pages.but(block_table=layout(table)).output_and_lse(), expected)


@pytest.mark.parametrize("more", [0, 1, 40])
def test_blocks_beyond_the_length(isa, rng, more):
    """The table may be wider than needed: -1 there, or a page that is not looked at."""
    problem = make(rng, "bfloat16", "decode")
    expected = problem.output_and_lse()
    in_pages = paged(rng, problem, 64, more=more)
    assert_same_bits(in_pages.output_and_lse(), expected)
    table = in_pages.options["block_table"].copy()
    table[table < 0] = len(in_pages.key) - 1
    assert_same_bits(in_pages.but(block_table=table).output_and_lse(), expected)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_head_major_stores_and_any_strides(isa, rng, kind):
    problem = make(rng, kind, "few queries")
    expected = problem.output_and_lse()
    in_pages = paged(rng, problem, 16)
    # (pages, heads, page_size, dim) in memory.
    head_major = {
        n: np.ascontiguousarray(getattr(in_pages, n).swapaxes(1, 2)).swapaxes(1, 2)
        for n in ("key", "value")
    }
    assert_same_bits(in_pages.but(**head_major).output_and_lse(), expected)
    for layout in LAYOUTS.values():
        moved = {n: layout(getattr(in_pages, n)) for n in ("key", "value")}
        for n in ("key_scales", "value_scales"):
            if in_pages.options.get(n) is not None:
                moved[n] = layout(in_pages.options[n])
        assert_same_bits(in_pages.but(**moved).output_and_lse(), expected)


def test_pages_shared_between_sequences(isa, rng):
    """A common beginning is stored once."""
    problem = make(rng, "bfloat16", "decode")
    key, value = problem.key.copy(), problem.value.copy()
    key[:, :, :128], value[:, :, :128] = key[:1, :, :128], value[:1, :, :128]
    problem = problem.but(key=key, value=value)
    in_pages = paged(rng, problem, 64)
    table = in_pages.options["block_table"].copy()
    for row in table[1:]:
        for n in ("key", "value"):
            getattr(in_pages, n)[row[:2]] = rubbish((2, *getattr(in_pages, n).shape[1:]), key.dtype)
        row[:2] = table[0, :2]
    got = in_pages.but(block_table=table).output_and_lse()
    assert_same_bits(got, problem.output_and_lse())


def test_one_table_for_all(isa, rng):
    """Its batch axes broadcast with those of the queries, as everything else does."""
    pages = rng.standard_normal((4, 16, 2, 8)).astype(np.float32)
    table, lengths = [2, 0, 3], np.array([40, 17])
    query = rng.standard_normal((2, 4, 1, 8)).astype(np.float32)
    problem = Problem(query, pages, pages, {"key_lengths": lengths, "block_table": table})
    check(problem)
    assert_same_bits(problem.but(block_table=[table]).output_and_lse(), problem.output_and_lse())
    check(problem.but(query=query[0], block_table=[table, table[::-1]]))
    check(problem.but(query=np.stack([query] * 3), block_table=[[table], [table], [[1, 1, 1]]]))


def test_one_page_again_and_again(isa, rng):
    """Twice the same page within one sequence is twice the same keys."""
    query = rng.standard_normal((1, 2, 1, 8)).astype(np.float32)
    pages = rng.standard_normal((2, 16, 2, 8)).astype(np.float32)
    options = {"key_lengths": [40], "block_table": [[1, 1, 1]]}
    check(Problem(query, pages, pages, options))


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_rows_of_an_empty_sequence(isa, rng, kind):
    problem = make(rng, kind, "decode").but(key_lengths=np.array([0, 600, 0]))
    in_pages = paged(rng, problem, 16)
    out, lse = in_pages.output_and_lse()
    assert_same_bits((out, lse), problem.output_and_lse())
    assert np.isneginf(lse[[0, 2]]).all()


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_poison_in_the_rest_of_a_page(isa, rng, kind):
    """`into_pages` fills with rubbish what holds no key: none of it may reach a result."""
    problem = make(rng, kind, "few queries").but(key_lengths=np.array([1, 17, 255]))
    in_pages = paged(rng, problem, 64)
    assert_same_bits(in_pages.output_and_lse(), problem.output_and_lse())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("page_size", [3, 64])
def test_packed_queries(isa, rng, kind, page_size):
    """Prefill, a few queries and decode of different sequences in one call."""
    rows, lengths = np.array([70, 1, 3]), np.array([270, 200, 5])
    cuts = np.concatenate([[0], np.cumsum(rows)])
    query = rng.standard_normal((74, 4, 24)).astype(np.float32)
    if kind != "int8":
        query, _ = stored(query, kind)
    key, key_scales = stored(rng.standard_normal((3, 2, 270, 24)).astype(np.float32), kind)
    value, value_scales = stored(rng.standard_normal((3, 2, 270, 18)).astype(np.float32), kind)
    scales = {"key_scales": key_scales, "value_scales": value_scales} if kind == "int8" else {}
    table = paged(
        rng, Problem(key, key, value, {"key_lengths": lengths}), page_size, more=2
    ).options["block_table"]
    store = {n: into_pages(x, table, lengths, page_size) for n, x in scales.items()}
    pages = [into_pages(x, table, lengths, page_size) for x in (key, value)]
    options = {"causal": True, "window": (100, None), "alibi_slopes": regard.alibi_slopes(4)}
    out, lse = regard.varlen_attention(
        query, *pages, cuts, None, key_lengths=lengths, block_table=table, return_lse=True,
        **store, **options,
    )  # fmt: skip
    assert out.dtype == query.dtype
    for n in range(3):
        piece, keys = slice(*cuts[n : n + 2]), np.s_[n, :, : lengths[n]]
        alone = Problem(query[piece].swapaxes(0, 1), key[keys], value[keys], {
            **{name: x[keys] for name, x in scales.items()}, **options})  # fmt: skip
        got, got_lse = alone.output_and_lse()
        assert_same_bits(np.ascontiguousarray(out[piece].swapaxes(0, 1)), got)
        assert_same_bits(np.ascontiguousarray(lse[:, piece]), got_lse)
