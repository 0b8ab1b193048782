"""Hypothesis: both caches under random sequences of operations, against lists of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cache_model import DTYPES, Tokens, near, query_dtype
from paged_caches import consistent, cuts
from regard import KVCache, OutOfPages, PagedKVCache
from regard.positions import Rope

dtypes = st.sampled_from(DTYPES)
ropes = st.sampled_from([None, Rope(30.0), Rope(30.0, interleaved=True, dim=2)])
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
small = st.integers(0, 7)


def read_back(rows, tokens, kept):
    """Keys and values (kv_heads, tokens, dim) are those of a model that are kept, then zeros."""
    for got, expected in zip(rows, (tokens.keys, tokens.values), strict=True):
        assert not got[:, len(kept) :].any()
        for n, j in enumerate(kept):
            np.testing.assert_allclose(got[:, n], expected[j], rtol=1e-6, atol=1e-6)


class ContiguousMachine(RuleBasedStateMachine):
    """`KVCache`, in a buffer or not, with a window or not."""

    @initialize(
        dtype=dtypes, rope=ropes, batch=st.integers(1, 3), kv_heads=st.integers(1, 2),
        group=st.integers(1, 3), dims=st.tuples(st.sampled_from([2, 6, 9]), st.integers(1, 4)),
        ring=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 3)),
        slack=st.integers(0, 9), in_buffer=st.booleans(),
    )  # fmt: skip
    def make(self, dtype, rope, batch, kv_heads, group, dims, ring, slack, in_buffer):
        self.dtype, self.heads, (dim, self.value_dim) = dtype, kv_heads * group, dims
        self.rope = rope if rope is None or rope.dim or dim % 2 == 0 else None
        window, sinks = ring or (None, 0)
        self.sizes: dict[str, Any] = {
            "kv_heads": kv_heads, "head_dim": dim, "dtype": dtype, "value_dim": self.value_dim,
            "capacity": 12 if ring is None else window + sinks + 1 + slack,
            "window": window, "sink_tokens": sinks,
        }  # fmt: skip
        self.in_buffer = in_buffer
        self.cache = KVCache(batch, **self.sizes, buffer=self.buffer(batch))
        self.model = [Tokens(dtype, self.rope, window, sinks) for _ in range(batch)]
        self.slack = slack
        self.evicted = [0] * batch  # tokens before this one are gone from the ring

    def buffer(self, batch):
        if not self.in_buffer:
            return None
        self.memory = np.zeros(KVCache.nbytes_for(batch, **self.sizes), np.uint8)
        return self.memory

    def normal(self, rng, *shape):
        return rng.standard_normal(shape).astype(query_dtype(self.dtype))

    @rule(rng=rngs, count=small, ragged=st.booleans(), flat=st.booleans())
    def append(self, rng, count, ragged, flat):
        batch, sizes = len(self.model), self.sizes
        key = self.normal(rng, batch, sizes["kv_heads"], count, sizes["head_dim"])
        value = self.normal(rng, batch, sizes["kv_heads"], count, self.value_dim)
        counts = rng.integers(0, count + 1, batch) if ragged else np.full(batch, count)
        given = (key[0], value[0]) if flat and batch == 1 else (key, value)
        more = {"lengths": counts} if ragged else {}
        too_long = any(
            len(tokens) + n > sizes["capacity"]
            for tokens, n in zip(self.model, counts, strict=True)
        )
        if sizes["window"] is None and too_long:
            with pytest.raises(ValueError, match="no room"):
                self.cache.append(*given, self.rope, **more)
            return
        self.cache.append(*given, self.rope, **more)
        for b, tokens in enumerate(self.model):
            tokens.append(key[b, :, : counts[b]], value[b, :, : counts[b]])
            if sizes["window"] is not None:
                ring = sizes["capacity"] - sizes["sink_tokens"]
                self.evicted[b] = max(self.evicted[b], len(tokens) - ring)

    @rule(rng=rngs, count=small, ragged=st.booleans(), flat=st.booleans(), alibi=st.booleans())
    def attend(self, rng, count, ragged, flat, alibi):
        batch = len(self.model)
        query = self.normal(rng, batch, self.heads, count, self.sizes["head_dim"])
        counts = rng.integers(0, count + 1, batch) if ragged else np.full(batch, count)
        options: dict[str, Any] = {"query_lengths": counts} if ragged else {}
        of_both: dict[str, Any] = {}
        if alibi:
            of_both["alibi_slopes"] = rng.uniform(0, 1, self.heads)
        if any(n > len(tokens) for n, tokens in zip(counts, self.model, strict=True)):
            with pytest.raises(ValueError, match=r"attend: query has . tokens of batch element"):
                self.cache.attend(query, **options, **of_both)
            return
        if self.gone(counts):
            with pytest.raises(ValueError, match="have been overwritten"):
                self.cache.attend(query, **options, **of_both)
            return
        flat = flat and batch == 1
        out, lse = self.cache.attend(
            query[0] if flat else query, return_lse=True, **options, **of_both
        )
        for b, tokens in enumerate(self.model):
            expected = tokens.attend(query[b], int(counts[b]), value_dim=self.value_dim, **of_both)
            near((out, lse) if flat else (out[b], lse[b]), expected)

    def gone(self, counts):
        """Whether the first query of some element should see a token that is not there."""
        window, sinks = self.sizes["window"], self.sizes["sink_tokens"]
        if window is None:
            return False
        return any(
            n and max(len(tokens) - n - window, sinks) < self.evicted[b]
            for b, (tokens, n) in enumerate(zip(self.model, counts, strict=True))
        )

    @rule()
    def read(self):
        sinks, ring = self.sizes["sink_tokens"], self.sizes["window"] is not None
        for b, tokens in enumerate(self.model):
            kept = [j for j in range(len(tokens)) if not ring or j < sinks or j >= self.evicted[b]]
            read_back((self.cache.keys()[b], self.cache.values()[b]), tokens, kept)

    @rule()
    def clear(self):
        self.cache.clear()
        self.evicted = [0] * len(self.model)
        for tokens in self.model:
            tokens.truncate(0)

    @rule(rng=rngs, back=st.integers(0, 12), ragged=st.booleans())
    def truncate(self, rng, back, ragged):
        kept = [max(0, len(tokens) - int(back)) for tokens in self.model]
        if ragged:
            kept = [int(rng.integers(n, len(t) + 1)) for n, t in zip(kept, self.model, strict=True)]
        window, sinks = self.sizes["window"], self.sizes["sink_tokens"]
        if window is not None and any(
            sinks < n < len(tokens) and max(n - window, sinks) < self.evicted[b]
            for b, (n, tokens) in enumerate(zip(kept, self.model, strict=True))
        ):
            with pytest.raises(ValueError, match="have been overwritten"):
                self.cache.truncate(kept)
            return
        self.cache.truncate(kept)
        for b, (n, tokens) in enumerate(zip(kept, self.model, strict=True)):
            if n <= sinks:
                self.evicted[b] = 0
            tokens.truncate(n)

    @rule(rng=rngs, batch=st.integers(1, 3))
    def fork(self, rng, batch):
        chosen = rng.integers(0, len(self.model), batch)
        self.cache = self.cache.fork(chosen, buffer=self.buffer(batch))
        self.model = [self.model[b].copy() for b in chosen]
        self.evicted = [self.evicted[b] for b in chosen]

    @precondition(lambda self: self.in_buffer)
    @rule(whole=st.booleans())
    def reopen(self, whole):
        if whole:
            self.cache = KVCache.open(self.memory.copy())
            self.memory = self.cache._state.file._buffer
        else:
            self.cache = KVCache(len(self.model), **self.sizes, buffer=self.memory)

    @invariant()
    def lengths(self):
        if hasattr(self, "cache"):
            assert self.cache.lengths.tolist() == [len(tokens) for tokens in self.model]


class PagedMachine(RuleBasedStateMachine):
    """`PagedKVCache` of few pages, so that they run out and are used again."""

    @initialize(
        dtype=dtypes, rope=ropes, pages=st.integers(1, 12), page_size=st.integers(1, 5),
        group=st.integers(1, 3), kv_heads=st.integers(1, 2),
    )  # fmt: skip
    def make(self, dtype, rope, pages, page_size, group, kv_heads):
        self.dtype, self.rope, self.kv_heads = dtype, rope, kv_heads
        self.heads = group * kv_heads
        self.cache = PagedKVCache(pages, page_size, kv_heads, 4, dtype, value_dim=3)
        self.model: dict[int, Tokens] = {}
        # Numbers of the leading tokens. Equal ones behind equal ones have equal keys.
        self.texts: dict[int, list[int]] = {}
        self.past: list[list[int]] = [[]]

    def some(self, rng, least=0):
        handles = np.array(list(self.model), int)
        count = rng.integers(min(least, len(handles)), len(handles) + 1)
        return rng.permutation(handles)[:count].tolist()

    @rule()
    def allocate(self):
        handle = self.cache.allocate()
        self.model[handle], self.texts[handle] = Tokens(self.dtype, self.rope), []

    @rule(rng=rngs, count=st.integers(0, 20))
    def allocate_known(self, rng, count):
        text = rng.integers(0, 2, count).tolist()
        if rng.random() < 0.7:
            text = [*self.past[rng.integers(len(self.past))], *text]
        handle = self.cache.allocate(text)
        found = self.cache.length(handle)
        assert found % self.cache.page_size == 0
        assert found < max(len(text), 1)
        self.model[handle], self.texts[handle] = Tokens(self.dtype, self.rope), text[:found]
        key, value = self.rows(text[:found])
        self.model[handle].append(key.swapaxes(0, 1), value.swapaxes(0, 1))

    def rows(self, text, start=()):
        """Keys and values that follow from the text up to each token."""
        whole = [*start, *text]
        key, value = (
            np.empty((len(text), self.kv_heads, 4)),
            np.empty((len(text), self.kv_heads, 3)),
        )
        for n in range(len(text)):
            prefix = whole[: len(start) + n + 1]
            rng = np.random.default_rng([len(prefix), *prefix])
            key[n], value[n] = (
                rng.standard_normal(key.shape[1:]),
                rng.standard_normal(value.shape[1:]),
            )
        return key.astype(query_dtype(self.dtype)), value.astype(query_dtype(self.dtype))

    @rule(rng=rngs, most=st.integers(0, 6), known=st.booleans())
    def append(self, rng, most, known):
        handles = self.some(rng)
        counts = rng.integers(0, most + 1, len(handles))
        texts, rows = [], []
        for handle, count in zip(handles, counts, strict=True):
            start = self.texts[handle]
            follows = known and len(start) == len(self.model[handle])
            # Without numbers, or behind tokens without: keys that no text has.
            texts.append(rng.integers(0, 2, count).tolist())
            rows.append(self.rows(texts[-1], start if follows else rng.integers(2, 2**31, 3)))
        key = np.concatenate([k for k, _ in rows] or [self.rows([])[0]])
        value = np.concatenate([v for _, v in rows] or [self.rows([])[1]])
        more = {"tokens": np.array([t for text in texts for t in text], int)} if known else {}
        before, needed = self.cache.free_pages, self.needed(handles, counts)
        if needed > before:
            with pytest.raises(OutOfPages, match=f"{needed} pages are needed, and {before} of"):
                self.cache.append(handles, key, value, cuts(counts), rope=self.rope, **more)
            return
        self.cache.append(handles, key, value, cuts(counts), rope=self.rope, **more)
        assert self.cache.free_pages == before - needed
        for handle, text, (k, v) in zip(handles, texts, rows, strict=True):
            if known and len(self.texts[handle]) == len(self.model[handle]):
                self.texts[handle] = [*self.texts[handle], *text]
                self.past.append(self.texts[handle])
            self.model[handle].append(k.swapaxes(0, 1), v.swapaxes(0, 1))

    def needed(self, handles, counts):
        """Pages that an append needs: new ones, and copies of what others have as well."""
        size, total = self.cache.page_size, 0
        users = list(self.cache._sequences.pages.users)
        for handle, count in zip(handles, counts, strict=True):
            length = len(self.model[handle])
            total += -(-(length + int(count)) // size) - -(-length // size)
            if count and length % size:
                page = self.cache._sequences.by_handle[handle].pages[-1]
                if users[page] > 1:
                    users[page] -= 1
                    total += 1
        return total

    @rule(rng=rngs, most=st.integers(0, 5), alibi=st.booleans())
    def attend(self, rng, most, alibi):
        handles = self.some(rng, 1)
        counts = rng.integers(0, most + 1, len(handles))
        query = rng.standard_normal((counts.sum(), self.heads, 4)).astype(query_dtype(self.dtype))
        options = {"alibi_slopes": rng.uniform(0, 1, self.heads)} if alibi else {}
        if any(n > len(self.model[handle]) for n, handle in zip(counts, handles, strict=True)):
            with pytest.raises(ValueError, match=r"attend: query has . tokens of sequence"):
                self.cache.attend(handles, query, cuts(counts), **options)
            return
        out, lse = self.cache.attend(handles, query, cuts(counts), return_lse=True, **options)
        for n, handle in enumerate(handles):
            part = slice(*cuts(counts)[n : n + 2])
            expected = self.model[handle].attend(query[part].swapaxes(0, 1), value_dim=3, **options)
            near((out[part].swapaxes(0, 1), lse[:, part]), expected)

    @rule()
    def read(self):
        assert self.cache.lengths == {handle: len(tokens) for handle, tokens in self.model.items()}
        for handle, tokens in self.model.items():
            rows = self.cache.keys(handle), self.cache.values(handle)
            assert len(rows[0]) == len(rows[1]) == len(tokens)
            read_back([x.swapaxes(0, 1) for x in rows], tokens, range(len(tokens)))

    @rule()
    def clear(self):
        self.cache.clear()
        self.model, self.texts, self.past = {}, {}, [[]]
        assert self.cache.free_pages == self.cache.pages

    @precondition(lambda self: self.model)
    @rule(rng=rngs)
    def fork(self, rng):
        (old,) = rng.choice(list(self.model), 1)
        new = self.cache.fork(int(old))
        assert new not in self.model
        self.model[new], self.texts[new] = self.model[old].copy(), self.texts[old]

    @precondition(lambda self: self.model)
    @rule(rng=rngs)
    def free(self, rng):
        (old,) = rng.choice(list(self.model), 1)
        self.cache.free(int(old))
        del self.model[old], self.texts[old]  # but what it has written may be found again

    @precondition(lambda self: self.model)
    @rule(rng=rngs)
    def truncate(self, rng):
        (handle,) = rng.choice(list(self.model), 1)
        kept = int(rng.integers(0, len(self.model[handle]) + 1))
        self.cache.truncate(int(handle), kept)
        self.model[handle].truncate(kept)
        self.texts[handle] = self.texts[handle][:kept]

    @invariant()
    def pages(self):
        if hasattr(self, "cache"):
            consistent(self.cache)
            for handle, tokens in self.model.items():
                assert self.cache.length(handle) == len(tokens)


TestContiguous = ContiguousMachine.TestCase
TestPaged = PagedMachine.TestCase
TestContiguous.settings = TestPaged.settings = settings(stateful_step_count=25)
