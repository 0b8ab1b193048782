"""`PagedKVCache` finds tokens that it has: whose pages a new sequence begins with."""

from __future__ import annotations

import numpy as np
import pytest

from cache_model import Tokens, near
from paged_caches import add, attended, consistent, make, queries, rows
from regard import OutOfPages
from regard.positions import Rope


def test_known_tokens_are_found_again(rng):
    cache, model = make(), [Tokens("float32", Rope())]
    prompt = rng.integers(0, 1000, 14)
    first = cache.allocate(prompt)
    assert cache.length(first) == 0
    add(rng, cache, [first], model, [14], tokens=prompt, rope=Rope())

    def reused(tokens):
        handle = cache.allocate(tokens)
        consistent(cache)
        length = cache.length(handle)
        query = queries(rng, min(1, length))
        again = model[0].copy()
        again.truncate(length)
        near(cache.attend(handle, query, return_lse=True), attended([again], query, [len(query)]))
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
