"""What `KVCache` refuses: sizes and calls, which change nothing."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from kv_caches import BATCH, DIM, HEADS, KV_HEADS, VALUE_DIM, make, rows
from regard import KVCache
from regard.positions import Rope


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_pickling(how):
    with pytest.raises(TypeError, match=r"cannot be pickled.\n.*fork"):
        how(make())


WRONG_SIZES = {
    "batch": (ValueError, {"batch": 0}, "batch is 0.\n  Give at least 1"),
    "heads": (TypeError, {"kv_heads": 2.0}, r"kv_heads is 2\.0"),
    "dim": (ValueError, {"head_dim": -1}, "head_dim is -1"),
    "bool": (TypeError, {"capacity": True}, "capacity is True"),
    "value_dim": (ValueError, {"value_dim": 0}, "value_dim is 0"),
    "dtype": (ValueError, {"dtype": "int4"}, r"dtype is 'int4'.\n  Give one of 'bfloat16', 'fl"),
    "dtype type": (ValueError, {"dtype": np.int32}, "dtype is <class 'numpy.int32'>"),
    "no dtype": (ValueError, {"dtype": None}, "dtype is None"),
    "overflow": (ValueError, {"overflow": "wrap"}, "overflow is 'wrap'.\n  Give 'raise' or"),
    "window": (ValueError, {"window": -1}, "window is -1"),
    "sinks": (ValueError, {"sink_tokens": 2}, "sink_tokens is 2, without a window"),
    "capacity": (ValueError, {"window": 5, "sink_tokens": 3}, "capacity is 8, with.*at least 9"),
}


@pytest.mark.parametrize("what", WRONG_SIZES)
def test_wrong_sizes(what):
    error, more, message = WRONG_SIZES[what]
    sizes = {"batch": 1, "kv_heads": 2, "head_dim": 4, "capacity": 8, **more}
    for make_or_ask in (KVCache, KVCache.nbytes_for)[: 1 if what == "overflow" else 2]:
        with pytest.raises(error, match=f"(?s){message}"):
            make_or_ask(**sizes)


K, V = np.zeros((BATCH, KV_HEADS, 4, DIM)), np.zeros((BATCH, KV_HEADS, 4, VALUE_DIM))
Q = np.zeros((BATCH, HEADS, 1, DIM), np.float32)
WRONG_CALLS = {
    "key": (ValueError, lambda c: c.append(V, V), r"append: key has shape \(3, 2, 4, 5\).\n.*=8"),
    "value": (ValueError, lambda c: c.append(K, K), "append: value has shape.*value_dim=5"),
    "heads": (ValueError, lambda c: c.append(K[:, :1], V), "append: key has shape"),
    "axes": (ValueError, lambda c: c.append(K[0], V[0]), "batch=3, kv_heads=2, tokens"),
    "tokens": (ValueError, lambda c: c.append(K, V[:, :, :3]), "key has 4 tokens, value 3"),
    "dtype": (TypeError, lambda c: c.append(K * 1j, V), "key has dtype complex128"),
    "room": (
        ValueError,
        lambda c: c.append(*(np.tile(x, (1, 1, 5, 1)) for x in (K, V)), lengths=[0, 20, 3]),
        "batch element 1 has 2 tokens, and no room for 20 more.\n  capacity=20",
    ),
    "rope": (TypeError, lambda c: c.append(K, V, rope=10000.0), "rope is a float"),
    "late rope": (ValueError, lambda c: c.append(K, V, rope=Rope()), "appended without it"),
    "rope dim": (ValueError, lambda c: c.append(K, V, rope=Rope(dim=10)), "dim is 10"),
    "lengths": (ValueError, lambda c: c.append(K, V, lengths=[1, 5, 1]), "5 for batch element 1"),
    "few lengths": (ValueError, lambda c: c.append(K, V, lengths=[1, 1]), r"shape \(2,\)"),
    "float lengths": (TypeError, lambda c: c.append(K, V, lengths=[1.0] * 3), "dtype float64"),
    "longer": (ValueError, lambda c: c.truncate(3), "lengths is 3 for batch element 0.*0 to 2"),
    "negative": (ValueError, lambda c: c.truncate([0, -1, 0]), "-1 for batch element 1"),
    "half": (TypeError, lambda c: c.truncate(0.5), "lengths has dtype float64"),
    "element": (ValueError, lambda c: c.fork([3]), r"fork: indices is \[3\].\n.*0 to 2"),
    "elements": (ValueError, lambda c: c.fork([[1]]), "fork: indices has dtype int64, shape"),
    "no elements": (ValueError, lambda c: c.fork([]), "fork: indices has dtype float64"),
    "query": (ValueError, lambda c: c.attend(Q[0]), r"attend: query has shape \(4, 1, 8\)"),
    "query dim": (ValueError, lambda c: c.attend(Q[..., :3]), "disagree on head_dim"),
    "query batch": (ValueError, lambda c: c.attend(Q[:2]), "batch"),
    "queries": (
        ValueError,
        lambda c: c.attend(np.zeros((BATCH, HEADS, 3, DIM)), query_lengths=[1, 3, 2]),
        "attend: query has 3 tokens of batch element 1, and the cache 2.\n.*query_lengths",
    ),
    "more queries": (
        ValueError,
        lambda c: c.attend(np.zeros((BATCH, HEADS, 3, DIM))),
        "attend: query has 3 tokens of batch element 0, and the cache 2",
    ),
    "beyond": (
        ValueError,
        lambda c: c.append(K + 1e39 * (np.arange(DIM) == 3), V),
        r"append: key of batch element 0, head 0, token 0 is 1e\+39, beyond int8's largest",
    ),
    "key_lengths": (TypeError, lambda c: c.attend(Q, key_lengths=2), "key_lengths is the cache's"),
    "table": (TypeError, lambda c: c.attend(Q, block_table=[[0]]), "block_table is the cache's"),
    "option": (TypeError, lambda c: c.attend(Q, sofcap=1.0), "sofcap"),
}


@pytest.mark.parametrize("what", WRONG_CALLS)
def test_wrong_calls_change_nothing(rng, what):
    error, call, message = WRONG_CALLS[what]
    cache = make("int8")
    cache.append(*rows(rng, 2))
    bytes_before = [array.copy() for array in cache._state.storage.arrays()]
    with pytest.raises(error, match=f"(?s){message}"):
        call(cache)
    np.testing.assert_array_equal(cache.lengths, [2] * BATCH)
    for array, before in zip(cache._state.storage.arrays(), bytes_before, strict=True):
        np.testing.assert_array_equal(array, before)
    cache.append(*rows(rng, 18))  # there is still as much room
    cache.attend(Q)


def test_more_queries_than_the_shortest_element_has_tokens(rng):
    cache = make()
    cache.append(*rows(rng, 4), lengths=[4, 2, 4])
    two, three = (rng.standard_normal((BATCH, HEADS, n, DIM)) for n in (2, 3))
    cache.attend(two.astype(np.float32))
    with pytest.raises(ValueError, match="query has 3 tokens of batch element 1, and the cache 2"):
        cache.attend(three.astype(np.float32))
    cache.attend(three.astype(np.float32), query_lengths=[3, 2, 3])


def test_query_and_rope_disagree(rng):
    cache = make()
    cache.append(*rows(rng, 2), Rope())
    with pytest.raises(ValueError, match=r"query has shape \(3, 4, 1, 3\), and the cache head_dim"):
        cache.attend(Q[..., :3])
    with pytest.raises(TypeError, match="query_offset has dtype float64"):
        cache.attend(Q, query_offset=0.5)
