"""Few query rows and many keys: every option, over the edges of chunks, the same to the last bit
whatever is beside it."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from layouts import LAYOUTS
from pages import paged
from problems import Problem, assert_same_bits, check, make_problem
from storage_types import FLOATS, rounded, stored

# (query heads of a kv head, queries): up to 8 rows share a pass over the keys.
ROWS = [
    (1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (7, 1), (8, 1),
    (1, 2), (1, 3), (1, 5), (1, 8), (2, 2), (4, 2), (2, 3), (2, 4),
]  # fmt: skip
# Chunks are 256 keys.
KEYS = [1, 2, 9, 255, 256, 257, 511, 513, 1000]
KINDS = ("float32", "float64", "bfloat16", "float16", "int8")


def make(rng, kind, *, group=4, queries=1, keys=700, head_dim=24, **options) -> Problem:
    """Two elements of two kv heads."""
    problem = make_problem(
        rng, batch=(2,), heads=2 * group, kv_heads=2, queries=queries, keys=keys,
        head_dim=head_dim, value_dim=20, dtype=np.float64 if kind == "float64" else np.float32,
    )  # fmt: skip
    if kind == "int8":
        (key, key_scales), (value, value_scales) = (
            stored(x, kind) for x in (problem.key, problem.value)
        )
        options |= {"key_scales": key_scales, "value_scales": value_scales}
        return problem.but(key=key, value=value, **options)
    if kind in FLOATS:
        arrays = {n: rounded(getattr(problem, n), FLOATS[kind]) for n in ("query", "key", "value")}
        return problem.but(**arrays, **options)
    return problem.but(**options)


def options_for(rng, problem) -> dict[str, dict]:
    """Each option by itself, and many together."""
    batch, heads, queries, keys = problem.score_shape
    mask = rng.random((batch, heads, queries, keys)) < 0.6
    dtype = np.float64 if problem.query.dtype == np.float64 else np.float32
    bias = rng.standard_normal((heads, queries, keys)).astype(dtype)
    masked_bias = np.where(rng.random(bias.shape) < 0.3, dtype(-np.inf), bias)
    lengths = np.array([keys, max(keys // 2, 1)])
    numbers = rng.standard_normal(heads)
    # No tile of a chunk, some, and all of it.
    by_tiles = mask & (np.arange(keys) // 128 % 3 > 0)
    windows = rng.integers(0, 300, heads)
    windows[0] = -1
    return {
        "plain": {},
        "causal": {"causal": True},
        "upper_left": {"causal": "upper_left"},
        "window": {"window": (300, 0)},
        "short window": {"causal": True, "window": 3},
        "window of heads": {"window": (windows, 2)},
        "mask": {"mask": mask},
        "mask of keys": {"mask": mask[:, :1, :1]},
        "mask of queries": {"mask": mask[..., :1]},
        "packed mask": {"mask": regard.PackedMask.from_dense(mask)},
        "block mask": {"mask": regard.BlockMask.from_dense(by_tiles, block_size=64)},
        "bias": {"bias": bias},
        "bias of keys": {"bias": bias[:1, :1]},
        "bias that masks": {"bias": masked_bias},
        "relative": {"position_bias": regard.bias.Relative(rng.standard_normal((51, heads)))},
        "T5": {"position_bias": regard.bias.T5(rng.standard_normal((32, heads)))},
        "alibi": {"alibi_slopes": regard.alibi_slopes(heads)},
        "alibi of elements": {"alibi_slopes": rng.random((batch, heads)) / 10},
        "softcap": {"softcap": 2.0},
        "softcap of heads": {"softcap": np.where(numbers > 0, 3.0, 0.0), "scale": 1.5},
        "sinks": {"sinks": np.where(numbers > 1, -np.inf, numbers)},
        "scale": {"scale": 0.37},
        "scale of heads": {"scale": numbers},
        "no scale": {"scale": 0.0},
        "cosine": {"similarity": "cosine", "scale": 8.0},
        "lengths": {"key_lengths": lengths},
        "causal lengths": {"key_lengths": lengths, "causal": True, "window": (257, None)},
        "query_lengths": {"query_lengths": np.array([queries, queries - 1]), "causal": True},
        "query_offset": {"query_offset": np.array([keys // 3, keys + 5]), "causal": True},
        "dropout": {"dropout": 0.3, "seed": 11},
        "nothing": {"mask": np.zeros((1, 1), bool)},
        "together": {
            "causal": True,
            "window": (400, 1),
            "mask": mask,
            "bias": masked_bias,
            "position_bias": regard.bias.Relative(rng.standard_normal((9, heads))),
            "alibi_slopes": regard.alibi_slopes(heads),
            "softcap": 5.0,
            "sinks": numbers,
            "scale": 0.2 + np.abs(numbers),
            "key_lengths": lengths,
            "dropout": 0.1,
            "seed": 3,
        },
    }


OPTIONS = list(options_for(np.random.default_rng(), make(np.random.default_rng(), "float32")))


@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_rows(isa, rng, kind, rows):
    group, queries = rows
    for keys in (9, 257, 700):
        problem = make(rng, kind, group=group, queries=queries, keys=keys)
        check(problem)
        check(problem.but(causal=True))


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("kind", KINDS)
def test_edges_of_chunks(isa, rng, kind, keys):
    for group, queries in ((1, 1), (4, 1), (1, 3), (4, 2)):
        problem = make(rng, kind, group=group, queries=queries, keys=keys)
        check(problem)
        for window in ((255, 0), (256, 0), (257, 0)):
            check(problem.but(causal=True, window=window))
        check(problem.but(key_lengths=np.array([keys, keys - 1])))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_options(isa, rng, kind, option):
    for group, queries in ((1, 1), (4, 1), (2, 3)):
        problem = make(rng, kind, group=group, queries=queries)
        check(problem.but(**options_for(rng, problem)[option]))


@pytest.mark.parametrize("head_dim", [*range(1, 20), 31, 33, 48, 64, 65, 80, 96, 128, 130, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_head_dims(isa, rng, kind, head_dim):
    check(make(rng, kind, keys=300, head_dim=head_dim))
    check(make(rng, kind, keys=300, head_dim=head_dim, queries=2, group=1))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_threads(isa, rng, kind, option):
    problem = make(rng, kind, queries=2, keys=900)
    problem = problem.but(**options_for(rng, problem)[option])
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 3, 5, None):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)


def of_element(problem: Problem, b: int) -> Problem:
    """Element b by itself, as a batch of one."""
    one = slice(b, b + 1)
    options = dict(problem.options)
    for name in ("key_lengths", "query_lengths", "query_offset", "key_scales", "value_scales"):
        if name in options:
            options[name] = options[name][one]
    for name in ("mask", "alibi_slopes"):
        if isinstance(options.get(name), np.ndarray) and len(options[name]) == 2:
            options[name] = options[name][one]
    return Problem(problem.query[one], problem.key[one], problem.value[one], options)


@pytest.mark.parametrize("option", [n for n in OPTIONS if n not in
    ("packed mask", "block mask", "dropout", "together")])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_batch_size_and_position_in_the_batch(isa, rng, kind, option):
    problem = make(rng, kind, queries=2)
    problem = problem.but(**options_for(rng, problem)[option])
    out, lse = problem.output_and_lse()
    for b in range(2):
        got = of_element(problem, b).output_and_lse()
        assert_same_bits(got, (out[b : b + 1], lse[b : b + 1]))


@pytest.mark.parametrize("kind", KINDS)
def test_many_elements(isa, rng, kind):
    """More units of work than threads, and fewer: the order of sums is that of the keys."""
    problem = make(rng, kind, keys=600)
    order = [0, 1, 1, 0, 0, 1, 0]
    arrays = {n: getattr(problem, n)[order] for n in ("query", "key", "value")}
    scales = {n: x[order] for n, x in problem.options.items()}
    for threads in (1, 2, 3):
        got = problem.but(**arrays, **scales).output_and_lse(num_threads=threads)
        out, lse = problem.output_and_lse(num_threads=1)
        assert_same_bits(got, (out[order], lse[order]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_layouts(isa, rng, kind, layout):
    problem = make(rng, kind, queries=2, causal=True)
    expected = problem.output_and_lse()
    moved = {n: LAYOUTS[layout](getattr(problem, n)) for n in ("query", "key", "value")}
    assert_same_bits(problem.but(**moved).output_and_lse(), expected)


@pytest.mark.parametrize("option", ["plain", "causal", "window", "mask of queries", "sinks",
    "causal lengths", "query_offset", "T5", "dropout", "cosine"])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_in_pages(isa, rng, kind, option):
    problem = make(rng, kind, queries=2)
    problem = problem.but(**options_for(rng, problem)[option])
    expected = problem.output_and_lse()
    for page_size in (16, 100):
        assert_same_bits(paged(rng, problem, page_size).output_and_lse(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_room_behind_the_keys(isa, rng, kind):
    """A cache that has room for more: bitwise what the keys give that are there."""
    for length in (1, 255, 256, 300, 512, 699):
        problem = make(rng, kind, causal=True)
        filled = problem.but(key_lengths=np.full(2, length))
        scales = {n: problem.options[n][..., :length] for n in problem.options if "scales" in n}
        cut = {n: getattr(problem, n)[..., :length, :] for n in ("key", "value")}
        assert_same_bits(filled.output_and_lse(), problem.but(**cut, **scales).output_and_lse())


@pytest.mark.parametrize("kind", KINDS)
def test_growing_windows_cost_nothing_outside(isa, rng, kind):
    """What lies before a window is not read: NaN there is nowhere."""
    problem = make(rng, kind, keys=1000, causal=True, window=(299, 0))
    expected = problem.output_and_lse()
    hidden = ~problem.seen_keys
    assert hidden[..., :700].all()
    names = ("key_scales", "value_scales") if kind == "int8" else ("key", "value")
    for n in names:
        array = (problem.options[n] if kind == "int8" else getattr(problem, n)).copy()
        array[hidden] = rounded(np.nan, array.dtype)
        problem = problem.but(**{n: array})
    assert_same_bits(problem.output_and_lse(), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_reach_the_rows_that_see_them(isa, rng, kind, bad):
    """Heads of a group share a pass over the keys, and nothing else."""
    problem = make(rng, kind, queries=4, group=2, causal=True)
    query = problem.query.copy()
    query[0, 1, 2, 3] = rounded(bad, query.dtype)
    check(problem.but(query=query))
    if kind != "int8":
        for n in ("key", "value"):
            array = getattr(problem, n).copy()
            array[1, 0, -2, 3] = rounded(bad, array.dtype)
            check(problem.but(**{n: array}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 100.0, -1e3])
def test_large_scores(isa, rng, kind, scale):
    check(make(rng, kind, scale=scale))


def test_the_maximum_may_be_anywhere(isa, rng):
    """In the first key, in the last, in a chunk of its own; far above the others and far below."""
    for at in (0, 255, 256, 300, 699):
        for height in (50.0, -50.0, 1000.0):
            problem = make(rng, "float32", queries=2)
            bias = np.zeros(700, np.float32)
            bias[at] = height
            check(problem.but(bias=bias))


@pytest.mark.parametrize("kind", KINDS)
def test_values_without_columns(isa, rng, kind):
    """There is no output to speak of, but there are log-sum-exps."""
    problem = make(rng, kind, queries=2)
    expected = problem.output_and_lse()
    empty = problem.but(value=problem.value[..., :0])
    for threads in (1, 3):
        out, lse = empty.output_and_lse(num_threads=threads)
        assert out.shape == (2, 8, 2, 0)
        np.testing.assert_array_equal(lse, expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_explain_says_so(kind):
    rng = np.random.default_rng(0)
    for group, queries, few in ((1, 1, True), (8, 1, True), (2, 4, True), (4, 40, False)):
        problem = make(rng, kind, group=group, queries=queries, keys=1000)
        plan = regard.explain(problem.query, problem.key, problem.value, **problem.options)
        assert plan.kernel.startswith("decode/" if few else "forward/"), plan
        assert plan.isa in plan.kernel
