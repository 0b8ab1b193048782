"""NaN and Inf under the newer options: none from what is hidden, by whatever hides it."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from problems import assert_same_bits, check, make_problem
from regard import bias, masks

BAD = [np.nan, np.inf, -np.inf]
SIZES = [(50, 70), (97, 140), (1, 300)]


def make(rng, dtype, size, **options):
    return make_problem(
        rng, batch=(2,), heads=4, kv_heads=2, queries=size[0], keys=size[1], head_dim=17,
        value_dim=19, dtype=dtype, **options,
    )  # fmt: skip


def hiding_options(rng, size) -> dict:
    """Options that leave some keys unseen by every query of the group."""
    queries, keys = size
    unseen = rng.random((2, 1, 1, keys)) < 0.3
    dense = np.broadcast_to(~unseen, (2, 1, queries, keys))
    holes = np.ones((queries, keys), bool)
    holes[:, keys // 3 : keys // 3 + 40] = False  # whole tiles of 16 keys, and parts of some
    return {
        "packed mask": {"mask": regard.PackedMask.from_dense(~unseen)},
        "block mask": {"mask": regard.BlockMask.from_dense(dense, block_size=16)},
        "empty tiles": {"mask": regard.BlockMask.from_dense(holes, block_size=16)},
        "empty tiles of 128": {
            "mask": regard.BlockMask.from_dense(
                np.broadcast_to(np.arange(keys) < min(keys // 2, 128), (queries, keys))
            )
        },
        "nothing seen": {"mask": regard.BlockMask.from_dense(np.zeros((queries, keys), bool))},
        "windows of heads": {"window": (keys // 4, np.array([0, 1, 2, 3])), "query_offset": 5},
        "query_offset": {"causal": True, "query_offset": [keys - queries - keys // 3, -3]},
        "lengths": {"key_lengths": [keys // 2, keys - 3], "query_lengths": [queries, 1]},
        "no queries": {"query_lengths": [0, queries], "key_lengths": keys - 1},
    }


SCORES = {
    "plain": lambda heads: {},
    "softcap": lambda heads: {"softcap": 2.0},
    "alibi": lambda heads: {"alibi_slopes": np.linspace(0, 1, heads)},
    "position_bias": lambda heads: {
        "position_bias": bias.Relative(np.linspace(-1, 1, 11 * heads).reshape(11, heads))
    },
    "sinks": lambda heads: {"sinks": np.linspace(-2, 2, heads)},
    "cosine": lambda heads: {"similarity": "cosine"},
    "dropout": lambda heads: {"dropout": 0.3, "seed": 5},
    "all": lambda heads: {
        "softcap": np.linspace(0, 5, heads),
        "alibi_slopes": np.linspace(0, 1, heads),
        "position_bias": bias.T5(np.linspace(-1, 1, 8)),
        "sinks": np.linspace(-2, 2, heads),
        "similarity": "cosine",
        "dropout": 0.3,
        "seed": 5,
    },
}


@pytest.mark.parametrize("scores", ["plain", "all"])
@pytest.mark.parametrize("option", hiding_options(np.random.default_rng(), (3, 40)))
@pytest.mark.parametrize("size", SIZES)
def test_unseen_keys_and_values_do_not_matter(isa, rng, dtype, size, option, scores):
    problem = make(rng, dtype, size, **hiding_options(rng, size)[option], **SCORES[scores](4))
    clean = problem.output_and_lse()
    check(problem, clean)
    unseen = ~problem.seen_keys
    assert unseen.any()
    for bad in BAD:
        dirty_key, dirty_value = problem.key.copy(), problem.value.copy()
        dirty_key[unseen] = bad
        dirty_value[unseen] = bad
        assert_same_bits(problem.but(key=dirty_key).output_and_lse(), clean)
        assert_same_bits(problem.but(value=dirty_value).output_and_lse(), clean)
        assert_same_bits(problem.but(key=dirty_key, value=dirty_value).output_and_lse(), clean)


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("size", SIZES)
def test_masked_pairs_do_not_matter(isa, rng, dtype, size, scores):
    """By a mask, causal or lengths: keys, values, biases, all at once."""
    keys = size[1]
    bias = rng.standard_normal((2, 4, *size)).astype(dtype)
    unseen = rng.random(keys) < 0.3
    for hiding in ({"mask": ~unseen}, {"causal": True}, {"key_lengths": keys - 5}):
        problem = make(rng, dtype, size, bias=bias, **hiding, **SCORES[scores](4))
        clean = problem.output_and_lse()
        check(problem, clean)
        sees = problem.but(bias=None).sees
        hidden = ~problem.but(bias=None).seen_keys
        for bad in BAD:
            key, value = problem.key.copy(), problem.value.copy()
            key[hidden] = value[hidden] = bad
            dirty = problem.but(key=key, value=value, bias=np.where(sees, bias, dtype(bad)))
            assert_same_bits(dirty.output_and_lse(), clean)


@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("size", SIZES)
def test_rows_past_their_length_do_not_matter(isa, rng, dtype, size, scores):
    queries, keys = size
    lengths = np.array([queries // 3, queries - 1])
    problem = make(rng, dtype, size, query_lengths=lengths, causal=True, **SCORES[scores](4))
    pairs = rng.standard_normal((2, 4, queries, keys)).astype(dtype)
    problem = problem.but(bias=pairs)
    clean = problem.output_and_lse()
    check(problem, clean)
    past = np.arange(queries) >= lengths[:, np.newaxis, np.newaxis]
    past = np.broadcast_to(past, (2, 4, queries))
    for bad in BAD:
        query, dirty = problem.query.copy(), pairs.copy()
        query[past] = dirty[past] = bad
        got = problem.but(query=query, bias=dirty).output_and_lse()
        assert_same_bits(got, clean)
        assert (got[0][past] == 0).all()
        assert np.isneginf(got[1][past]).all()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("scores", [name for name in SCORES if name != "cosine"])
@pytest.mark.parametrize("where", ["key", "value", "query"])
@pytest.mark.parametrize("size", SIZES)
def test_attended_nan_and_inf_reach_their_rows_only(isa, rng, dtype, size, scores, where, bad):
    mask = rng.random((4, *size)) < 0.5
    problem = make(rng, dtype, size, mask=regard.PackedMask.from_dense(mask), **SCORES[scores](4))
    clean, clean_lse = problem.output_and_lse()
    array = getattr(problem, where).copy()
    at = size[0] // 2 if where == "query" else size[1] // 2
    array[1, 0, at, 5] = bad
    dirty = problem.but(**{where: array})
    out, lse = dirty.output_and_lse()
    check(dirty, (out, lse))
    reached = np.zeros(lse.shape, bool)
    if where == "query":
        reached[1, 0, at] = True
    else:
        reached[1, :2] = problem.sees[1, :2, :, at]
    assert_same_bits(out[~reached], clean[~reached])
    assert_same_bits(lse[~reached], clean_lse[~reached])


@pytest.mark.parametrize("where", ["query", "key"])
def test_cosine_of_nan_and_inf_is_nan(isa, rng, dtype, where):
    """Their vectors have no direction: inf / inf is NaN."""
    problem = make(rng, dtype, (50, 70), similarity="cosine", causal="upper_left")
    clean = problem.output_and_lse()
    for bad in BAD:
        array = getattr(problem, where).copy()
        array[1, 0, 30, 5] = bad
        out, lse = problem.but(**{where: array}).output_and_lse()
        reached = np.zeros(lse.shape, bool)
        if where == "query":
            reached[1, 0, 30] = True
        else:
            reached[1, :2, 30:] = True
        assert np.isnan(out[reached]).all()
        assert np.isnan(lse[reached]).all()
        assert_same_bits(out[~reached], clean[0][~reached])


@pytest.mark.parametrize("sign", [1, -1])
def test_softcap_of_infinite_scores_is_the_cap(isa, dtype, sign):
    """c · tanh(inf) is c, as in NumPy."""
    query = np.ones((1, 3, 2), dtype)
    key = np.zeros((1, 70, 2), dtype)
    key[0, 30] = sign * np.inf
    value = np.arange(70, dtype=dtype)[np.newaxis, :, np.newaxis]
    problem = make_problem(np.random.default_rng()).but(query=query, key=key, value=value)
    check(problem.but(softcap=3.0))


def test_nan_rows_stay_nan_with_a_sink(isa, rng, dtype):
    problem = make(rng, dtype, (50, 70), sinks=np.array([0.0, 5.0, -np.inf, 1e4]))
    problem.query[1, 2, 7] = np.nan
    out, lse = problem.output_and_lse()
    assert np.isnan(out[1, 2, 7]).all()
    assert np.isnan(lse[1, 2, 7])
    assert np.isnan(lse).sum() == 1


@pytest.mark.parametrize("bad", BAD)
def test_ready_made_masks_hide(isa, rng, dtype, bad):
    segments = np.repeat([0, 1, 2], [50, 90, 60])
    mask = masks.documents(segments, block_size=16)
    problem = make(rng, dtype, (200, 200), mask=mask)
    clean = problem.output_and_lse()
    key, value = problem.key.copy(), problem.value.copy()
    key[:, :, segments == 1] = value[:, :, segments == 1] = bad
    dirty = problem.but(key=key, value=value).output_and_lse()
    others = segments != 1
    assert_same_bits(dirty[0][:, :, others], clean[0][:, :, others])
    assert_same_bits(dirty[1][:, :, others], clean[1][:, :, others])
    assert np.isnan(dirty[0][:, :, ~others]).any()
