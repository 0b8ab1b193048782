"""Pages of `PagedKVCache`: who has them, what forks share, and what happens when they run out."""

from __future__ import annotations

import numpy as np
import pytest

from cache_model import Tokens, near
from paged_caches import add, attended, consistent, cuts, make, queries, rows
from regard import OutOfPages
from regard.cache._storage import Storage
from regard.positions import Rope


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
