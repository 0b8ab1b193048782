"""`PagedKVCache`: sequences in pages, what they share, and what happens when pages run out."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import regard
from cache_model import DTYPES, Tokens, near, query_dtype
from regard import KVCache, OutOfPages, PagedKVCache
from regard.cache._storage import Storage
from regard.positions import Llama3, Rope

KV_HEADS, HEADS, DIM, VALUE_DIM, PAGE = 2, 4, 8, 5, 4


def make(dtype="float32", pages=40) -> PagedKVCache:
    return PagedKVCache(pages, PAGE, KV_HEADS, DIM, dtype, value_dim=VALUE_DIM)


def rows(rng, count, dtype="float32"):
    key = rng.standard_normal((count, KV_HEADS, DIM)).astype(dtype)
    return key, rng.standard_normal((count, KV_HEADS, VALUE_DIM)).astype(dtype)


def queries(rng, count, dtype="float32"):
    return rng.standard_normal((count, HEADS, DIM)).astype(dtype)


def cuts(counts):
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def attended(model, query, counts, **options):
    """What models of the sequences give, packed."""
    outs, lses = [], []
    for tokens, part in zip(model, np.split(query, cuts(counts)[1:-1]), strict=True):
        out, lse = tokens.attend(part.swapaxes(0, 1), value_dim=VALUE_DIM, **options)
        outs.append(out.swapaxes(0, 1))
        lses.append(lse)
    return np.concatenate(outs), np.concatenate(lses, axis=1)


def add(rng, cache, handles, model, counts, dtype="float32", **more):
    key, value = rows(rng, sum(counts), query_dtype(dtype))
    cache.append(handles, key, value, cuts(counts), **more)
    for n, tokens in enumerate(model):
        part = slice(*cuts(counts)[n : n + 2])
        tokens.append(key[part].swapaxes(0, 1), value[part].swapaxes(0, 1))


def consistent(cache: PagedKVCache) -> None:
    """Every page is blank, idle or taken, by as many as say so; the table says the same."""
    pages = cache._sequences.pages
    users = [0] * cache.pages
    for one in cache._sequences.by_handle.values():
        assert len(one.pages) == -(-int(cache._sequences.lengths[one.row]) // cache.page_size)
        assert cache._sequences.table[one.row, : len(one.pages)].tolist() == one.pages
        assert (cache._sequences.table[one.row, len(one.pages) :] == -1).all()
        for page in one.pages:
            users[page] += 1
    assert users == pages.users
    unused = {page for page, count in enumerate(users) if not count}
    blank, idle = set(pages._blank), set(pages._idle)
    assert blank | idle == unused
    assert not blank & idle
    assert len(pages._blank) == len(blank)
    assert cache.free_pages == len(unused)
    assert set(pages._names) == set(pages._pages.values())
    assert idle <= set(pages._names)
    assert not blank & set(pages._names)


@pytest.mark.parametrize("rope", [None, Rope(dim=6), Rope(50.0, True, scaling=Llama3())])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefill_and_decode_in_one_call(rng, dtype, rope):
    cache = make(dtype)
    handles = [cache.allocate() for _ in range(4)]
    model = [Tokens(dtype, rope) for _ in handles]
    for counts in ([5, 0, 1, 4], [1, 9, 1, 1], [1, 1, 1, 1], [0, 3, 7, 1]):
        add(rng, cache, handles, model, counts, dtype, rope=rope)
        consistent(cache)
        query = queries(rng, sum(counts), query_dtype(dtype))
        got = cache.attend(handles, query, cuts(counts), return_lse=True)
        near(got, attended(model, query, counts))
    assert [cache.length(handle) for handle in handles] == [7, 13, 10, 7]
    some = [handles[2], handles[0]]
    query = queries(rng, 2, query_dtype(dtype))
    near(cache.attend(some, query, return_lse=True), attended([model[2], model[0]], query, [1, 1]))


def test_the_same_as_a_contiguous_cache(rng):
    """The same numbers of the same tokens, by one kernel or another."""
    paged, whole = make("int8"), KVCache(1, KV_HEADS, DIM, 30, "int8", VALUE_DIM)
    handle = paged.allocate()
    key, value = rows(rng, 23)
    paged.append(handle, key, value, rope=Rope())
    whole.append(key.swapaxes(0, 1), value.swapaxes(0, 1), rope=Rope())
    for count in (23, 4, 1):
        query = queries(rng, count)
        np.testing.assert_allclose(
            paged.attend(handle, query).swapaxes(0, 1), whole.attend(query.swapaxes(0, 1)),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip


def test_options_pass(rng):
    cache, model = make(), [Tokens("float32"), Tokens("float32")]
    handles = [cache.allocate(), cache.allocate()]
    counts = [9, 5]
    add(rng, cache, handles, model, counts)
    query = queries(rng, 14)
    for options in (
        {"causal": False},
        {"causal": "upper_left"},
        {"window": (3, 0)},
        {"softcap": 2.0, "sinks": np.zeros(HEADS)},
        {"alibi_slopes": regard.alibi_slopes(HEADS)},
        {"scale": 0.3},
    ):
        got = cache.attend(handles, query, cuts(counts), return_lse=True, **options)
        near(got, attended(model, query, counts, **options))
    mask = rng.random((HEADS, 1, 9)) < 0.7
    got = cache.attend(handles, query, cuts(counts), return_lse=True, mask=mask)
    expected = [
        tokens.attend(part.swapaxes(0, 1), mask=mask[..., : len(tokens)])
        for tokens, part in zip(model, np.split(query, [9]), strict=True)
    ]
    near(got, (
        np.concatenate([out.swapaxes(0, 1) for out, _ in expected]),
        np.concatenate([lse for _, lse in expected], axis=1),
    ))  # fmt: skip
    out = np.empty((14, HEADS, VALUE_DIM), np.float32)
    assert cache.attend(handles, query, cuts(counts), out=out) is out
    near((out,) * 2, (attended(model, query, counts)[0],) * 2)


def test_rope_counts_from_where_queries_stand(rng):
    rope = Rope()
    inside, outside = make(), make()
    key, value = rows(rng, 12)
    a, b = inside.allocate(), outside.allocate()
    inside.append(a, key, value, rope=rope)
    outside.append(b, rope(key.swapaxes(0, 1)).swapaxes(0, 1), value)
    query = queries(rng, 3)
    for options, first in (({}, 9), ({"query_offset": 4}, 4), ({"causal": "upper_left"}, 0)):
        turned = rope(query.swapaxes(0, 1), first + np.arange(3)).swapaxes(0, 1)
        np.testing.assert_array_equal(
            inside.attend(a, query, **options), outside.attend(b, turned, **options)
        )


@pytest.mark.parametrize("part", ["first", "second"])
def test_an_append_that_is_stopped_changes_nothing(rng, monkeypatch, part):
    cache, model = make(), [Tokens("float32")]
    first = cache.allocate()
    if part == "second":
        add(rng, cache, [first], model, [8])  # two whole pages: nothing to copy when one writes on

    def stopped(*_arguments):
        raise KeyboardInterrupt

    free = cache.free_pages
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "scatter", stopped)
        rope = Rope() if part == "first" else None
        with pytest.raises(KeyboardInterrupt):
            cache.append(first, *rows(rng, 20), rope=rope)
    assert cache.free_pages == free
    consistent(cache)
    # Nor has it chosen a rotation, nor does a fork share what the append had taken.
    handles, model = [first, cache.fork(first)], [model[0], model[0].copy()]
    add(rng, cache, handles, model, [3, 5])
    query = queries(rng, 2)
    near(cache.attend(handles, query, return_lse=True), attended(model, query, [1, 1]))


def test_forks_share_until_they_differ(rng):
    cache, model = make(), [Tokens("float32")]
    first = cache.allocate()
    add(rng, cache, [first], model, [10])  # two pages and a half
    assert cache.free_pages == 37
    handles = [first, cache.fork(first), cache.fork(first)]
    model = [model[0], model[0].copy(), model[0].copy()]
    assert cache.free_pages == 37
    consistent(cache)
    add(rng, cache, handles[:1], model[:1], [1])  # this one copies the last page
    assert cache.free_pages == 36
    # Of the two that are left, one copies, and the other keeps what nobody else has any more.
    add(rng, cache, handles[1:], model[1:], [1, 1])
    assert cache.free_pages == 35
    consistent(cache)
    add(rng, cache, handles, model, [3, 2, 1])
    query = queries(rng, 3)
    near(cache.attend(handles, query, return_lse=True), attended(model, query, [1, 1, 1]))
    for handle in handles:
        cache.free(handle)
    assert cache.free_pages == 40
    consistent(cache)


def test_a_fork_at_the_end_of_a_page_copies_nothing(rng):
    cache, model = make(), [Tokens("float32")]
    first = cache.allocate()
    add(rng, cache, [first], model, [8])
    second = cache.fork(first)
    model.append(model[0].copy())
    add(rng, cache, [first, second], model, [1, 1])
    assert cache.free_pages == 40 - 4
    query = queries(rng, 2)
    near(cache.attend([first, second], query, return_lse=True), attended(model, query, [1, 1]))


def test_truncate(rng):
    cache, model = make("bfloat16"), [Tokens("bfloat16")]
    handle = cache.allocate()
    add(rng, cache, [handle], model, [15])
    other, twin = cache.fork(handle), model[0].copy()
    for kept, taken in ((13, 4), (9, 4), (8, 4), (0, 4)):
        cache.truncate(handle, kept)
        model[0].truncate(kept)
        consistent(cache)
        assert cache.free_pages == 40 - taken  # the fork still has them all
        add(rng, cache, [handle], model, [1])
        consistent(cache)
        query = queries(rng, 2)
        near(
            cache.attend([handle, other], query, return_lse=True),
            attended([*model, twin], query, [1, 1]),
        )


def test_known_tokens_are_found_again(rng):
    cache, model = make(), [Tokens("float32", Rope())]
    prompt = rng.integers(0, 1000, 14)
    first = cache.allocate(prompt)
    assert cache.length(first) == 0
    add(rng, cache, [first], model, [14], tokens=prompt, rope=Rope())

    def reused(tokens):
        handle = cache.allocate(tokens)
        consistent(cache)
        query = queries(rng, 1)
        length = cache.length(handle)
        again = model[0].copy()
        again.truncate(length)
        near(cache.attend(handle, query, return_lse=True), attended([again], query, [1]))
        cache.free(handle)
        return length

    assert reused(prompt) == 12  # three full pages
    assert reused(prompt[:13]) == 12
    assert reused(prompt[:12]) == 8  # a model wants the output of the last token
    assert reused(prompt[:3]) == 0
    assert reused([]) == 0
    assert reused([*prompt[:9], 5, 5, 5, 5, 5]) == 8
    assert reused([*prompt[:2], -1, *prompt[3:]]) == 0
    assert reused(np.r_[1, prompt]) == 0  # the same tokens elsewhere are not the same keys
    assert reused(np.r_[prompt[4:], prompt[:4]]) == 0
    free = cache.free_pages
    cache.free(first)
    assert cache.free_pages == free + 4
    consistent(cache)
    assert reused(prompt) == 12  # until someone needs the pages
    hungry = cache.allocate()
    cache.append(hungry, *rows(rng, 4 * 38))
    consistent(cache)
    assert reused(prompt) == 8  # the last pages go first: they are no use without the others
    cache.append(hungry, *rows(rng, 4))
    assert reused(prompt) == 4
    with pytest.raises(OutOfPages, match="2 pages are needed, and 1 of 40 are free"):
        cache.append(hungry, *rows(rng, 5))


def test_generated_tokens_are_found_too(rng):
    """The next turn of a conversation begins with the answer to the last."""
    cache, model = make(), [Tokens("float32")]
    text = rng.integers(0, 1000, 21)
    first = cache.allocate(text[:6])
    add(rng, cache, [first], model, [6], tokens=text[:6])
    for n in range(6, 20):
        add(rng, cache, [first], model, [1], tokens=text[n : n + 1])
    cache.free(first)
    second = cache.allocate(text)
    assert cache.length(second) == 20
    # Nobody else has them: the next pages get names behind those that were found.
    tokens = rng.integers(0, 1000, 4)
    add(rng, cache, [second], model, [4], tokens=tokens)
    third = cache.allocate([*text[:20], *tokens, 0])
    assert cache.length(third) == 24
    query = queries(rng, 2)
    near(
        cache.attend([second, third], query, return_lse=True),
        attended([model[0], model[0]], query, [1, 1]),
    )


def test_tokens_that_are_not_known_have_no_name(rng):
    cache = make()
    text = rng.integers(0, 1000, 20)
    first = cache.allocate()
    cache.append(first, *rows(rng, 5), tokens=text[:5])
    cache.append(first, *rows(rng, 4))
    cache.append(first, *rows(rng, 11), tokens=text[9:])
    assert cache.length(cache.allocate(text)) == 4
    cache.truncate(first, 5)  # what is known begins again where it ended
    cache.append(first, *rows(rng, 15), tokens=text[5:])
    assert cache.length(cache.allocate(text)) == 16


def test_a_named_page_that_is_written_to_loses_its_name(rng):
    cache, model = make(), [Tokens("float32")]
    text = rng.integers(0, 1000, 9)
    first = cache.allocate(text)
    add(rng, cache, [first], model, [9], tokens=text)
    cache.truncate(first, 6)
    model[0].truncate(6)
    assert cache.length(cache.allocate(text)) == 8  # still there, and now shared
    add(rng, cache, [first], model, [2], tokens=[1, 2])
    consistent(cache)
    other = cache.allocate(text)
    assert cache.length(other) == 8
    for handle in set(cache._sequences.by_handle) - {first}:
        cache.free(handle)
    cache.truncate(first, 2)
    model[0].truncate(2)
    add(rng, cache, [first], model, [2], tokens=[3, 4])  # its own page, in place
    consistent(cache)
    assert cache.length(cache.allocate(text)) == 0
    assert cache.length(cache.allocate([*text[:2], 3, 4, 5])) == 4
    query = queries(rng, 1)
    near(cache.attend(first, query, return_lse=True), attended(model, query, [1]))


def test_two_that_write_the_same_text(rng):
    """Only one of the pages has the name; the other is like any page."""
    cache = make()
    text = rng.integers(0, 1000, 8)
    first, second = cache.allocate(text), cache.allocate(text)
    for handle in (first, second):
        cache.append(handle, *rows(rng, 8), tokens=text)
    consistent(cache)
    cache.free(second)
    consistent(cache)
    assert cache.length(cache.allocate([*text, 1])) == 8
    cache.free(first)
    consistent(cache)


def test_out_of_pages_changes_nothing(rng):
    cache, model = make(pages=6), [Tokens("float32"), Tokens("float32")]
    handles = [cache.allocate(), cache.allocate()]
    add(rng, cache, handles, model, [9, 6])
    assert cache.free_pages == 1
    twin = cache.fork(handles[0])
    model.append(model[0].copy())
    handles.append(twin)
    before = [array.copy() for array in cache._storage.arrays()]
    for counts, message in (
        ([0, 7, 0], "append: 2 pages are needed, and 1 of 6 are free"),
        ([4, 0, 0], "2 pages are needed"),  # one for the copy, one more
        ([1, 3, 1], "2 pages are needed"),  # one of the twins copies
    ):
        with pytest.raises(OutOfPages, match=message):
            cache.append(handles, *rows(rng, sum(counts)), cuts(counts))
        consistent(cache)
        assert [cache.length(handle) for handle in handles] == [9, 6, 9]
        for array, old in zip(cache._storage.arrays(), before, strict=True):
            np.testing.assert_array_equal(array, old)
    add(rng, cache, handles, model, [1, 2, 1])
    assert cache.free_pages == 0
    add(rng, cache, handles, model, [2, 0, 2])
    query = queries(rng, 3)
    near(cache.attend(handles, query, return_lse=True), attended(model, query, [1, 1, 1]))


def test_many_sequences(rng):
    """The block table grows in both directions, and rows are used again."""
    cache = make(pages=150)
    handles, model = [], []
    for n in range(30):
        handles.append(cache.allocate())
        model.append(Tokens("float32"))
        add(rng, cache, handles[-1:], model[-1:], [n])
        if n % 3 == 2:
            cache.free(handles.pop(0))
            model.pop(0)
    consistent(cache)
    assert len(cache._sequences.lengths) <= 32
    assert len(set(handles)) == len(handles) == 20
    query = queries(rng, 20)
    near(cache.attend(handles, query, return_lse=True), attended(model, query, [1] * 20))


def test_nothing_to_do(rng):
    cache = make()
    handle = cache.allocate()
    out, lse = cache.attend(handle, queries(rng, 2), return_lse=True)
    assert not out.any()
    assert np.isneginf(lse).all()
    cache.append([], *rows(rng, 0))
    assert cache.attend([], queries(rng, 0)).shape == (0, HEADS, VALUE_DIM)
    cache.append(handle, *rows(rng, 0))
    assert cache.length(handle) == 0
    consistent(cache)


def test_what_a_cache_tells_of_itself():
    cache = make("int8")
    cache.allocate()
    assert repr(cache) == (
        "PagedKVCache(pages=40, page_size=4, kv_heads=2, head_dim=8, dtype='int8', value_dim=5, "
        "sequences=1, free_pages=40)"
    )
    assert 40 * PAGE * KV_HEADS * 21 <= cache.nbytes <= 40 * PAGE * KV_HEADS * 21 + 256
    for how in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            how(cache)


SIZES = {"pages": 4, "page_size": 4, "kv_heads": 1, "head_dim": 4}
WRONG_SIZES = {
    "pages": (ValueError, {"pages": 0}, "PagedKVCache: pages is 0"),
    "page_size": (TypeError, {"page_size": "16"}, "page_size is '16'"),
    "kv_heads": (ValueError, {"kv_heads": -2}, "kv_heads is -2"),
    "head_dim": (TypeError, {"head_dim": None}, "head_dim is None"),
    "value_dim": (ValueError, {"value_dim": 0}, "value_dim is 0"),
    "dtype": (ValueError, {"dtype": "float8"}, "dtype is 'float8'"),
}


@pytest.mark.parametrize("what", WRONG_SIZES)
def test_wrong_sizes(what):
    error, more, message = WRONG_SIZES[what]
    with pytest.raises(error, match=message):
        PagedKVCache(**{**SIZES, **more})


K, V = np.zeros((6, KV_HEADS, DIM)), np.zeros((6, KV_HEADS, VALUE_DIM))
Q = np.zeros((4, HEADS, DIM), np.float32)
WRONG_CALLS = {
    "unknown": (ValueError, lambda c: c.append(7, K, V), "append: sequences is 7.\n.*allocate"),
    "one unknown": (ValueError, lambda c: c.attend([0, 7], Q), r"attend: sequences is \[0, 7\]"),
    "no number": (ValueError, lambda c: c.free("a"), "free: sequence is 'a'"),
    "none": (ValueError, lambda c: c.fork(None), "fork: sequence is None"),
    "list": (ValueError, lambda c: c.free([0]), r"free: sequence is \[0\]"),
    "past": (ValueError, lambda c: c.length(2), "length: sequence is 2"),
    "cut": (ValueError, lambda c: c.truncate([0, 1], 1), r"truncate: sequence is \[0, 1\]"),
    "twice": (ValueError, lambda c: c.append([0, 1, 0], K, V), "Give each of them once"),
    "key": (ValueError, lambda c: c.append(0, V, V), r"append: key has shape \(6, 2, 5\).*_dim=8"),
    "value": (ValueError, lambda c: c.append(0, K, K), "append: value has shape.*value_dim=5"),
    "heads": (ValueError, lambda c: c.append(0, K[:, :1], V), "append: key has shape"),
    "axes": (ValueError, lambda c: c.append(0, K[0], V[0]), "append: key has shape"),
    "counts": (ValueError, lambda c: c.append(0, K, V[:5]), "key has 6 tokens, value 5"),
    "dtype": (TypeError, lambda c: c.append(0, K * 1j, V), "key has dtype complex128"),
    "uneven": (ValueError, lambda c: c.append([0, 1], K[:5], V[:5]), "cu_seqlens is needed for 5"),
    "nobody": (ValueError, lambda c: c.append([], K, V), "needed for 6 rows and 0 sequences"),
    "cu": (ValueError, lambda c: c.append(0, K, V, [0, 5]), r"cu_seqlens is \[0, 5\], for 6 rows"),
    "cu falls": (ValueError, lambda c: c.append([0, 1], K, V, [0, 7, 6]), "never fall"),
    "cu few": (ValueError, lambda c: c.append([0, 1], K, V, [0, 6]), "Give 3 numbers"),
    "cu float": (TypeError, lambda c: c.append(0, K, V, [0, 6.0]), "cu_seqlens has dtype float64"),
    "tokens": (ValueError, lambda c: c.append(0, K, V, tokens=[1]), "one for each of the 6 keys"),
    "words": (TypeError, lambda c: c.allocate(["a"]), "allocate: tokens has dtype <U1"),
    "text": (ValueError, lambda c: c.allocate([[1]]), r"allocate: tokens has shape \(1, 1\)"),
    "rope": (TypeError, lambda c: c.append(0, K, V, rope=1.0), "rope is a float"),
    "late rope": (ValueError, lambda c: c.append(0, K, V, rope=Rope()), "appended without it"),
    "longer": (ValueError, lambda c: c.truncate(0, 3), "length is 3, and sequence 0 has 2"),
    "negative": (ValueError, lambda c: c.truncate(0, -1), "length is -1"),
    "query": (ValueError, lambda c: c.attend(0, Q[0]), r"attend: query has shape \(4, 8\)"),
    "query dim": (ValueError, lambda c: c.attend(0, Q[..., :3]), "head_dim"),
    "query cu": (ValueError, lambda c: c.attend(0, Q, [0, 3]), r"cu_seqlens_q is \[0, 3\]"),
    "key_lengths": (TypeError, lambda c: c.attend(0, Q, key_lengths=1), "the cache's own to give"),
    "cu_seqlens_k": (TypeError, lambda c: c.attend(0, Q, cu_seqlens_k=[0, 2]), "cache's own to"),
    "option": (TypeError, lambda c: c.attend(0, Q, sofcap=1.0), "sofcap"),
}


@pytest.mark.parametrize("what", WRONG_CALLS)
def test_wrong_calls_change_nothing(rng, what):
    error, call, message = WRONG_CALLS[what]
    cache = make("float16")
    handles = [cache.allocate(), cache.allocate()]
    cache.append(handles, *rows(rng, 4))
    with pytest.raises(error, match=f"(?s){message}"):
        call(cache)
    assert [cache.length(handle) for handle in handles] == [2, 2]
    assert cache.free_pages == 38
    consistent(cache)


def test_query_and_rope_disagree(rng):
    cache = make()
    handle = cache.allocate()
    cache.append(handle, *rows(rng, 4), rope=Rope())
    with pytest.raises(ValueError, match="and the cache head_dim=8"):
        cache.attend(handle, Q[..., :3])
    with pytest.raises(ValueError, match="another one than that of earlier tokens"):
        cache.append(handle, *rows(rng, 1), rope=Rope(5.0))
    cache.free(handle)
    with pytest.raises(ValueError, match="sequences is 0"):
        cache.attend(handle, Q)
