"""Latent attention: values that are columns of the keys, many heads for one, keys in groups."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from pages import paged
from problems import Problem, assert_same_bits, check, make_problem
from storage_types import FLOATS, rounded, stored

KINDS = ("float32", "float64", "bfloat16", "float16", "int8")
HEADS, BATCH = 12, 3
# Groups are 512 keys: three of them, the last one short.
KEYS = 1100


def make(rng, kind, *, queries=1, keys=KEYS, head_dim=40, value_dim=24, **options) -> Problem:
    """A problem whose value is a view of its key."""
    problem = make_problem(
        rng, batch=(BATCH,), heads=HEADS, kv_heads=1, queries=queries, keys=keys,
        head_dim=head_dim, value_dim=value_dim,
        dtype=np.float64 if kind == "float64" else np.float32,
    )  # fmt: skip
    key, query = problem.key, problem.query
    if kind == "int8":
        key, scales = stored(key, kind)
        options |= {"key_scales": scales, "value_scales": scales}
    elif kind in FLOATS:
        key, query = (rounded(x, FLOATS[kind]) for x in (key, query))
    return problem.but(query=query, key=key, value=key[..., :value_dim], **options)


def copied(problem: Problem) -> Problem:
    """The same with values of their own."""
    changes = {"value": problem.value.copy()}
    if "value_scales" in problem.options:
        changes["value_scales"] = problem.options["value_scales"].copy()
    return problem.but(**changes)


def options_for(rng, problem) -> dict[str, dict]:
    *_, queries, keys = problem.score_shape
    mask = rng.random((BATCH, HEADS, queries, keys)) < 0.6
    dtype = np.float64 if problem.query.dtype == np.float64 else np.float32
    return {
        "plain": {},
        "causal": {"causal": True},
        "window": {"causal": True, "window": 600},
        "mask": {"mask": mask},
        "block mask": {"mask": regard.BlockMask.from_dense(mask, block_size=48)},
        "bias": {"bias": rng.standard_normal((HEADS, queries, keys)).astype(dtype)},
        "alibi": {"alibi_slopes": regard.alibi_slopes(HEADS)},
        "softcap and sinks": {"softcap": 3.0, "sinks": rng.standard_normal(HEADS)},
        "lengths": {"key_lengths": np.array([keys, 700, 20]), "causal": True},
        "query_lengths": {"query_lengths": np.array([queries, 1, 0])},
        "query_offset": {"query_offset": np.array([0, 600, keys]), "causal": True},
        "dropout": {"dropout": 0.3, "seed": 3},
        "scale": {"scale": -0.3},
        "nothing": {"mask": np.zeros((1, 1), bool)},
    }


OPTIONS = list(options_for(np.random.default_rng(), make(np.random.default_rng(), "float32")))


def explained(problem: Problem, **more) -> regard.Explanation:
    return regard.explain(problem.query, problem.key, problem.value, **problem.options, **more)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_options_against_the_oracle_and_a_copy(isa, rng, kind, option):
    problem = make(rng, kind, queries=2)
    problem = problem.but(**options_for(rng, problem)[option])
    assert explained(problem).value_in_key
    assert not explained(copied(problem)).value_in_key
    check(problem)
    assert_same_bits(problem.output_and_lse(), copied(problem).output_and_lse())


@pytest.mark.parametrize("sizes", [(40, 32), (33, 32), (20, 20), (37, 5), (576, 512)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_dimensions(isa, rng, kind, sizes):
    """Values of whole vectors, and those that end within one or fill the key."""
    problem = make(rng, kind, head_dim=sizes[0], value_dim=sizes[1], keys=600)
    assert explained(problem).value_in_key
    check(problem)
    assert_same_bits(problem.output_and_lse(), copied(problem).output_and_lse())


@pytest.mark.parametrize("queries", [1, 3, 90])
@pytest.mark.parametrize("option", ["plain", "window", "lengths", "dropout"])
@pytest.mark.parametrize("kind", KINDS)
def test_threads(isa, rng, kind, option, queries):
    problem = make(rng, kind, queries=queries)
    options = options_for(rng, problem)[option]
    problem = problem.but(**options)
    expected = problem.output_and_lse(num_threads=1)
    for threads in (2, 3, 5, 64):
        assert_same_bits(problem.output_and_lse(num_threads=threads), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_size_and_neighbours(isa, rng, kind):
    lengths = np.array([KEYS, 700, 20])
    problem = make(rng, kind, key_lengths=lengths)
    out, lse = problem.output_and_lse()
    for b in range(BATCH):
        one = slice(b, b + 1)
        options = {n: x[one] for n, x in problem.options.items()}
        alone = Problem(problem.query[one], problem.key[one], problem.value[one], options)
        assert_same_bits(alone.output_and_lse(), (out[one], lse[one]))


@pytest.mark.parametrize("page_size", [1, 16, 128, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_pages(isa, rng, kind, page_size):
    problem = make(rng, kind, key_lengths=np.array([KEYS, 700, 20]))
    dim = problem.value.shape[-1]
    in_pages = paged(rng, problem, page_size)
    in_pages = in_pages.but(value=in_pages.key[..., :dim])
    if kind == "int8":
        in_pages = in_pages.but(value_scales=in_pages.options["key_scales"])
    assert explained(in_pages).value_in_key
    assert_same_bits(in_pages.output_and_lse(), problem.output_and_lse())


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_does_not_matter(isa, rng, kind, queries):
    problem = make(rng, kind, queries=queries, mask=rng.random((BATCH, 1, 1, KEYS)) < 0.5)
    unseen = ~problem.seen_keys
    key = problem.key.copy()
    dirty = problem.but(key=key, value=key[..., : problem.value.shape[-1]])
    if kind == "int8":
        scales = problem.options["key_scales"].copy()
        scales[unseen] = np.nan
        dirty = dirty.but(key_scales=scales, value_scales=scales)
    else:
        key[unseen] = rounded(np.nan, key.dtype)
    assert_same_bits(dirty.output_and_lse(), problem.output_and_lse())


def test_nan_stays_in_its_element(isa, rng):
    problem = make(rng, "float32")
    out, lse = problem.output_and_lse()
    problem.key[1, 0, 900] = np.nan
    dirty = problem.output_and_lse()
    assert np.isnan(dirty[0][1]).all()
    for b in (0, 2):
        assert_same_bits((dirty[0][b], dirty[1][b]), (out[b], lse[b]))


@pytest.mark.parametrize("heads", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_few_heads_are_decoded(isa, rng, kind, heads):
    problem = make(rng, kind)
    problem = problem.but(query=problem.query[:, :heads])
    assert explained(problem).algorithm == "decode"
    assert explained(problem).value_in_key
    check(problem)
    assert_same_bits(problem.output_and_lse(), copied(problem).output_and_lse())


def test_explain_says_how_keys_are_shared_out(isa, rng):
    told = explained(make(rng, "float32"), num_threads=2)
    assert (told.algorithm, told.key_groups, told.threads) == ("forward", 3, 2)
    assert told.units >= 3 * BATCH
    assert explained(make(rng, "float32", keys=512)).key_groups == 0
    # Rows that are units enough, keys no wider than values, few heads for a key: as ever.
    assert explained(make(rng, "float32", queries=1 + 1024 // HEADS)).key_groups == 0
    assert explained(make(rng, "float32", head_dim=24)).key_groups == 0


@pytest.mark.parametrize(
    "changes",
    [
        lambda p: {"value": p.key[..., 1:25]},
        lambda p: {"value": p.key[..., :48:2]},
        lambda p: {"value": p.key[:, :, ::-1, :24]},
        lambda p: {"value": p.key[::-1, ..., :24]},
        lambda p: {"value": np.broadcast_to(p.key[:1, ..., :24], (BATCH, 1, KEYS, 24))},
    ],
    ids=["columns later on", "every other", "keys backwards", "elements backwards", "one for all"],
)
def test_other_views_are_no_alias(isa, rng, changes):
    problem = make(rng, "float32", head_dim=48)
    problem = problem.but(**changes(problem))
    assert not explained(problem).value_in_key
    check(problem)


def test_other_scales_are_no_alias(isa, rng):
    problem = make(rng, "int8")
    problem = problem.but(value_scales=2 * problem.options["key_scales"])
    assert not explained(problem).value_in_key
    check(problem)
