"""What `PagedKVCache` refuses: sizes and calls, which change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from paged_caches import DIM, HEADS, KV_HEADS, VALUE_DIM, consistent, make, rows
from regard import PagedKVCache
from regard.positions import Rope

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
Q = np.zeros((2, HEADS, DIM), np.float32)
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
    "queries": (
        ValueError,
        lambda c: c.attend([1, 0], np.zeros((4, HEADS, DIM)), [0, 1, 4]),
        "attend: query has 3 tokens of sequence 0, and the cache 2.\n.*query_lengths",
    ),
    "keys": (ValueError, lambda c: c.keys(7), "keys: sequence is 7"),
    "values": (ValueError, lambda c: c.values([0]), r"values: sequence is \[0\]"),
    "beyond": (
        ValueError,
        lambda c: c.append([1, 0], K, np.where(np.arange(6) == 4, -7e4, 0)[:, None, None] + V),
        "append: value of sequence 0, head 0, token 1 is -70000.0, beyond float16's.*65504.\n.*sat",
    ),
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
