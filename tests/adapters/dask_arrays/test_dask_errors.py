"""What does not fit is said by the call, by name, and before anything is scheduled."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask.array as da

import regard
import regard.dask
from dask_problems import cut, make_inputs

X = np.zeros((2, 4, 100, 16))
QUERY = np.zeros((4, 100, 16), np.float32)
UNKNOWN = da.zeros((200, 16), chunks=(50, 16))[da.zeros(200, chunks=50) > 1]


def arrays(rng, **other):
    return {**cut(make_inputs(rng, np.float64), "everything"), **other}


BAD = {
    "query is a ndarray": {"query": X},
    "key and value are cut into other chunks of keys": {
        "value": da.zeros((2, 2, 130, 8), chunks=(1, 1, 65, 8)),
    },
    "query and key are cut into other chunks of batch elements": {
        "key": da.zeros((2, 2, 130, 16), chunks=(2, 1, 50, 16)),
    },
    "query is cut along head_dim": {"query": da.zeros(X.shape, chunks=(1, 2, 50, 8))},
    "query has chunks of (2, 2) heads, key of (2,)": {
        "key": da.zeros((2, 2, 130, 16), chunks=(1, 2, 50, 16)),
        "value": da.zeros((2, 2, 130, 8), chunks=(1, 2, 50, 8)),
    },
    "and 2 heads share a key head": {"query": da.zeros(X.shape, chunks=(1, 3, 50, 16))},
    "query has chunks of unknown size": {"query": UNKNOWN},
    "query and key disagree on head_dim": {
        "query": da.zeros((2, 4, 100, 12), chunks=(1, 2, 50, 12)),
    },
    "sinks is a dask array": {"sinks": da.zeros(4)},
    "mask is a BlockMask": {"mask": regard.masks.causal(100, 130)},
    "mask has dtype float64": {"mask": da.zeros((100, 130))},
    "position_bias is a Grid": {"position_bias": regard.bias.Grid(np.zeros((361, 4)), 10, 10)},
    "block_table": {"block_table": np.zeros((2, 1), int)},
    "query_offset is 9223372036854775807": {"query_offset": 2**63 - 1},
    "split_every is 1": {"split_every": 1},
    "there is no option is_causal": {"is_causal": True},
    "dropout needs a seed": {"dropout": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("says", BAD)
@pytest.mark.parametrize("function", ["attention", "attention_vjp"])
def test_attention_refuses(rng, says, function):
    given = arrays(rng, **BAD[says])
    if says.startswith("position_bias"):
        x = da.zeros((2, 4, 100, 16), chunks=(1, 2, 50, 16))
        given |= {"query": x, "key": x, "value": x}
    with pytest.raises((ValueError, TypeError), match=re.escape(says)) as error:
        getattr(regard.dask, function)(**given)
    assert str(error.value).startswith(f"{function}: ")
    assert "\n  " in str(error.value) or "block_table" in says


def test_a_grid_in_one_chunk_is_fine(rng):
    x = rng.standard_normal((4, 12, 8))
    bias = regard.bias.Grid(rng.standard_normal((35, 4)), 3, 4)
    cut_up = [da.from_array(x, (2, -1, -1))] * 3
    out = regard.dask.attention(*cut_up, position_bias=bias).compute(scheduler="sync")
    np.testing.assert_allclose(out, regard.attention(x, x, x, position_bias=bias), atol=1e-14)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"dout": X}, "dout is a ndarray"),
        ({"dout": da.zeros((2, 4, 100, 9))}, "dout has shape (2, 4, 100, 9); the output has"),
        ({"dlse": da.zeros((2, 4, 9))}, "dlse has shape (2, 4, 9); the LSE has"),
        ({"wrt": "keys"}, "wrt has 'keys'"),
        ({"wrt": ["bias"]}, "wrt has 'bias', which the call was not given"),
    ],
)
def test_vjp_refuses(rng, given, says):
    _, vjp = regard.dask.attention_vjp(**arrays(rng))
    with pytest.raises((ValueError, TypeError), match=re.escape(f"vjp: {says}")):
        vjp(**{"dout": da.zeros((2, 4, 100, 8)), **given})


def test_no_gradients_with_scales(rng):
    scales = np.ones((2, 2, 130), np.float32)
    with pytest.raises(ValueError, match="no derivatives with key_scales"):
        regard.dask.attention_vjp(**arrays(rng), key_scales=scales)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"query": X[0]}, "query is a ndarray"),
        ({"tasks": 0}, "tasks is 0"),
        ({"cu_seqlens_q": [0, 7, 5, 100]}, "cu_seqlens_q"),
        ({"mask": da.zeros((100, 100), dtype=bool)}, "mask is a dask array"),
        ({"block_table": [[0]]}, "block_table"),
    ],
)
def test_varlen_refuses(given, says):
    x = da.zeros((100, 4, 16))
    plain = {"query": x, "key": x, "value": x, "cu_seqlens_q": [0, 100], "cu_seqlens_k": [0, 100]}
    with pytest.raises((ValueError, TypeError), match=re.escape(says)) as error:
        regard.dask.varlen_attention(**{**plain, **given})
    assert str(error.value).startswith("varlen_attention: ")


@pytest.fixture(scope="module")
def cache(client):
    with regard.dask.DistributedKVCache(client, 1, 2, 16, shard_tokens=50) as cache:
        cache.append(np.ones((2, 80, 16)), np.ones((2, 80, 16)))
        yield cache


@pytest.mark.parametrize(
    ("method", "arguments", "options", "says"),
    [
        ("append", (X[0, :2], X[0, :3]), {}, "append: value has shape (3, 100, 16)"),
        ("append", (X[0, :2], X[0, :2, :9]), {}, "append: key has 100 tokens, value 9"),
        ("append", (da.zeros((2, 9, 16)), X[0, :2]), {}, "append: value is a ndarray"),
        ("append", (da.zeros((2, 9, 16), chunks=(1, 9, 16)),) * 2, {}, "append: key has chunks"),
        (
            "append", (da.zeros((2, 9, 16), chunks=(2, n, 16)) for n in (9, 3)), {},
            "append: key and value are cut into other chunks",
        ),
        ("attend", (X[0],), {}, "attend: query has 100 tokens"),
        ("attend", (X[:, :, :3],), {}, "attend: key has dtype bfloat16 but query has float64"),
        ("attend", (QUERY[:, :3, 3:],), {}, "attend: query and key disagree on head_dim"),
        ("attend", (QUERY[:3, :5],), {}, "attend: query has 3 heads"),
        ("attend", (QUERY[:, :5],), {"key_lengths": 3}, "attend: key_lengths"),
        ("attend", (QUERY[:, :5],), {"mask": np.ones((5, 79), bool)}, "attend: mask"),
        ("truncate", (81,), {}, "truncate: length is 81"),
    ],
)  # fmt: skip
def test_cache_refuses(cache, method, arguments, options, says):
    with pytest.raises((ValueError, TypeError), match=re.escape(says)):
        getattr(cache, method)(*arguments, **options)
    assert len(cache) == 80


def test_cache_of_no_such_size(client):
    with pytest.raises(ValueError, match="DistributedKVCache: shard_tokens is 0"):
        regard.dask.DistributedKVCache(client, 1, 2, 16, shard_tokens=0)
