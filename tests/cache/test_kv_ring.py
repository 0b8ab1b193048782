"""`KVCache` with a window: a ring of slots, whose oldest token makes room for the next."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from cache_model import DTYPES, Tokens, near, query_dtype, widened
from kv_caches import BATCH, DIM, HEADS, KV_HEADS, VALUE_DIM, attended, queries, rows
from regard import KVCache, bias
from regard._bfloat16 import carrier
from regard.positions import Rope

WINDOW, SINKS = 6, 2
TIGHT = SINKS + WINDOW + 1  # the smallest capacity


def make(dtype="float32", sinks=SINKS, slack=0, batch=BATCH) -> KVCache:
    return KVCache(
        batch, KV_HEADS, DIM, sinks + WINDOW + 1 + slack, dtype, VALUE_DIM, WINDOW, sinks
    )


def models(dtype="float32", rope=None, sinks=SINKS) -> list[Tokens]:
    return [Tokens(dtype, rope, WINDOW, sinks) for _ in range(BATCH)]


def add(rng, cache, model, count, rope=None, counts=None, dtype="float32"):
    key, value = rows(rng, count, dtype=query_dtype(dtype))
    cache.append(key, value, rope, lengths=counts)
    for b, tokens in enumerate(model):
        stop = count if counts is None else counts[b]
        tokens.append(key[b, :, :stop], value[b, :, :stop])


@pytest.mark.parametrize("slack", [0, 1, 5])
@pytest.mark.parametrize("sinks", [0, 2])
@pytest.mark.parametrize("rope", [None, Rope(100.0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_token_after_the_other(rng, dtype, rope, sinks, slack):
    cache, model = make(dtype, sinks, slack), models(dtype, rope, sinks)
    for _ in range(30):
        add(rng, cache, model, 1, rope, dtype=dtype)
        query = queries(rng, 1, dtype=query_dtype(dtype))
        near(cache.attend(query, return_lse=True), attended(model, query))
    np.testing.assert_array_equal(cache.lengths, [30] * BATCH)


@pytest.mark.parametrize("rope", [None, Rope(100.0)])
@pytest.mark.parametrize("sinks", [0, 2])
def test_several_tokens_at_a_time(rng, sinks, rope):
    """As many as there is slack for, over the end of the buffer and the end of the sinks."""
    slack = 4
    cache, model = make("float32", sinks, slack), models("float32", rope, sinks)
    for count in (1, 5, 3, 5, 5, 1, 2, 5, 4, 5):
        add(rng, cache, model, count, rope)
        query = queries(rng, count)
        near(cache.attend(query, return_lse=True), attended(model, query))


def test_the_capacity_does_not_matter(rng):
    """Slack lets more tokens stay in memory, and none more be seen."""
    key, value = rows(rng, 25)
    query = queries(rng, 25)
    results = []
    for slack in (0, 3, 40):
        cache = make(slack=slack)
        outs = []
        for n in range(25):
            cache.append(key[:, :, n : n + 1], value[:, :, n : n + 1], Rope())
            outs.append(cache.attend(query[:, :, n : n + 1]))
        results.append(np.concatenate(outs, axis=2))
    cache = make(slack=40)
    cache.append(key, value, Rope())
    results.append(cache.attend(query))
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rope", [None, Rope(100.0)])
def test_elements_of_different_lengths(rng, rope):
    cache, model = make("bfloat16", slack=3), models("bfloat16", rope)
    for counts in ([4, 0, 1], [4, 1, 2], [4, 4, 0], [3, 2, 4], [1, 4, 4], [4, 4, 2], [1, 1, 1]):
        add(rng, cache, model, max(counts), rope, counts)
        query = queries(rng, max(counts))
        got = cache.attend(query, query_lengths=counts, return_lse=True)
        near(got, attended(model, query, counts))


@pytest.mark.parametrize("rope", [None, Rope(100.0)])
def test_options(rng, rope):
    cache, model = make(slack=3), models(rope=rope)
    slopes = np.array([0.5, 0.25, 0.1, 0.0])
    table = rng.standard_normal((2 * (SINKS + WINDOW) + 1, HEADS))
    for count in (4, 4, 1, 4, 4, 1, 3):
        add(rng, cache, model, count, rope)
        query = queries(rng, count)
        for options in (
            {"alibi_slopes": slopes},
            {"softcap": 1.5, "sinks": np.array([0.0, 1.0, -np.inf, -1.0])},
            {"scale": -0.2, "alibi_slopes": slopes},
        ):
            near(cache.attend(query, return_lse=True, **options), attended(model, query, **options))
        # The table goes from a key far before the query to one far behind it.
        got = cache.attend(query, return_lse=True, position_bias=bias.Relative(table))
        near(got, attended(model, query, by_distance=table[SINKS + WINDOW :: -1].T))
        # A table that holds ALiBi's numbers is ALiBi, whether by heads of a batch or of all.
        expected = cache.attend(query, return_lse=True, alibi_slopes=slopes)
        line = -np.abs(np.arange(-SINKS - WINDOW, SINKS + WINDOW + 1))[:, None] * slopes
        near(cache.attend(query, return_lse=True, position_bias=bias.Relative(line)), expected)
        each = np.tile(slopes, (BATCH, 1))
        near(cache.attend(query, return_lse=True, alibi_slopes=each), expected)
        both = cache.attend(query, alibi_slopes=slopes, position_bias=bias.Relative(table))
        sum_of_both = cache.attend(query, position_bias=bias.Relative(table + line))
        np.testing.assert_allclose(both, sum_of_both, rtol=1e-5, atol=1e-6)
        # A table that ends early: further away, its last number counts.
        short = bias.Relative(table[SINKS + WINDOW - 2 : SINKS + WINDOW + 3])
        ends = np.clip(np.arange(-SINKS - WINDOW, SINKS + WINDOW + 1), -2, 2) + SINKS + WINDOW
        np.testing.assert_allclose(
            cache.attend(query, position_bias=short),
            cache.attend(query, position_bias=bias.Relative(table[ends])),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip
        assert cache.attend(query, causal="lower_right").shape == (*query.shape[:-1], VALUE_DIM)
        out = np.empty((*query.shape[:-1], VALUE_DIM), np.float32)
        assert cache.attend(query, out=out, similarity="cosine") is out
        np.testing.assert_array_equal(out, cache.attend(query, similarity="cosine"))


@pytest.mark.parametrize("of_query", ["bfloat16", "float16"])
def test_queries_of_half_precision(rng, of_query):
    """Rounded once, also where two parts are merged."""
    cache, model = make("bfloat16"), models("bfloat16", Rope(100.0))
    for _ in range(20):
        add(rng, cache, model, 1, Rope(100.0))
    wide = np.round(queries(rng, 1) * 4) / 4
    narrow = (wide.view(np.uint32) >> 16).astype(np.uint16).view(carrier())
    query = narrow if of_query == "bfloat16" else wide.astype(np.float16)
    out, lse = cache.attend(query, return_lse=True)
    assert out.dtype == query.dtype
    assert lse.dtype == np.float32
    expected, _ = attended(model, wide)
    np.testing.assert_allclose(widened(out), expected, atol=2e-2)


def test_a_batch_of_one_needs_no_batch_axis(rng):
    flat, full = make(batch=1), make(batch=1)
    slopes = regard.alibi_slopes(HEADS)
    for _ in range(15):
        key, value = rows(rng, 1, batch=1)
        flat.append(key[0], value[0], Rope())
        full.append(key, value, Rope())
        query = queries(rng, 1, batch=1)
        got, expected = flat.attend(query[0]), full.attend(query)[0]
        np.testing.assert_array_equal(got, expected)
        got = flat.attend(query[0], alibi_slopes=slopes)
        np.testing.assert_array_equal(got, full.attend(query, alibi_slopes=slopes)[0])


@pytest.mark.parametrize("count", [8, 9, 30, 31])
def test_a_prompt_longer_than_the_buffer(rng, count):
    """Only what stays is written; the last token sees all it should."""
    cache, model = make(), models(rope=Rope())
    add(rng, cache, model, count, Rope())
    query = queries(rng, 1)
    near(cache.attend(query, return_lse=True), attended(model, query))
    add(rng, cache, model, 1)
    near(cache.attend(query, return_lse=True), attended(model, query))


def test_what_has_been_overwritten_is_not_attended_to(rng):
    cache, model = make(slack=2), models()
    add(rng, cache, model, 20)
    with pytest.raises(ValueError, match=r"(?s)first query stands at 16 and sees back to token 10, "
                       r"but those before 11.*at most 3 tokens at a time"):  # fmt: skip
        cache.attend(queries(rng, 4))
    query = queries(rng, 3)
    near(cache.attend(query, return_lse=True), attended(model, query))


def test_truncate(rng):
    """As far back as the next token would see all of its window."""
    cache, model = make(slack=4), models(rope=Rope())

    def check(count):
        query = queries(rng, count)
        near(cache.attend(query, return_lse=True), attended(model, query))

    add(rng, cache, model, 7, Rope())
    for kept in (5, 1, 0):  # nothing has been overwritten
        cache.truncate(kept)
        for tokens in model:
            tokens.truncate(kept)
        add(rng, cache, model, 5, Rope())
        check(5)
    for _ in range(5):
        add(rng, cache, model, 4)
    assert cache.lengths[0] == 25
    with pytest.raises(ValueError, match=r"19 tokens of batch element 0 .*before 14 have been"):
        cache.truncate(19)
    np.testing.assert_array_equal(cache.lengths, [25] * BATCH)
    for kept in (25, 22, 20):
        cache.truncate(kept)
        for tokens in model:
            tokens.truncate(kept)
    add(rng, cache, model, 1)
    check(1)
    with pytest.raises(ValueError, match="19 tokens"):
        cache.truncate([20, 19, 21])
    add(rng, cache, model, 4)
    check(4)
    cache.truncate([2, 1, 25])  # only sinks are left of the first two
    for tokens, kept in zip(model, (2, 1, 25), strict=True):
        tokens.truncate(kept)
    for _ in range(8):
        add(rng, cache, model, 3)
        check(3)


def test_forks(rng):
    cache, model = make(slack=1), models()
    add(rng, cache, model, 7, counts=[7, 3, 5])
    for _ in range(6):
        add(rng, cache, model, 2, counts=[2, 1, 2])
    twin, order = cache.fork([2, 1, 0]), [2, 1, 0]
    turned = [model[b].copy() for b in order]
    add(rng, cache, model, 2)
    query = queries(rng, 1)
    near(twin.attend(query, return_lse=True), attended(turned, query))
    add(rng, twin, turned, 2)
    near(twin.attend(query, return_lse=True), attended(turned, query))
    near(cache.attend(query, return_lse=True), attended(model, query))


REFUSED = {
    "mask": (
        TypeError,
        {"mask": np.ones(9, bool)},
        "mask cannot be given to a cache with a window",
    ),
    "bias": (TypeError, {"bias": np.ones(9)}, "bias cannot be given"),
    "window": (TypeError, {"window": 3}, "window cannot be given"),
    "offset": (TypeError, {"query_offset": 3}, "query_offset cannot be given"),
    "dropout": (TypeError, {"dropout": 0.5, "seed": 1}, "cannot be given"),
    "lengths": (TypeError, {"key_lengths": 3}, "key_lengths is the cache's own"),
    "causal": (ValueError, {"causal": False}, "causal is False"),
    "upper_left": (ValueError, {"causal": "upper_left"}, "causal is 'upper_left'"),
    "slopes": (ValueError, {"alibi_slopes": np.ones(3)}, r"alibi_slopes has shape \(3,\).*4 heads"),
    "grid": (ValueError, {"position_bias": bias.Grid(np.ones(9), 2, 2)}, "position_bias is a Grid"),
    "table": (ValueError, {"position_bias": bias.Relative(np.ones((3, 5)))}, "for 5 heads"),
    "no table": (TypeError, {"position_bias": 3.0}, "position_bias is a float"),
    "out": (ValueError, {"out": np.empty(3)}, r"out is \(3,\) float64; the result is"),
    "list": (ValueError, {"out": [1.0]}, "out is list"),
    "float lengths": (TypeError, {"query_lengths": 0.5}, "query_lengths has dtype float64"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_options(rng, what):
    error, options, message = REFUSED[what]
    cache, model = make(), models()
    add(rng, cache, model, 12, Rope())
    with pytest.raises(error, match=f"(?s){message}"):
        cache.attend(queries(rng, 1), **options)
