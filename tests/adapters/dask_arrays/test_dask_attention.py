"""Attention of dask arrays is that of the arrays, however they are cut, and on any workers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask
import dask.array as da

import regard
import regard.dask
from dask_problems import CUTS, MERGING, NAMES, UNIT, computed, cut, make_inputs, options, tasks
from regard import reference


def run(x, **scheduler):
    return dask.compute(*x, **(scheduler or {"scheduler": "sync"}))


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("name", NAMES)
def test_same_as_one_call(rng, name, how):
    inputs, given = make_inputs(rng, np.float32), options(rng)[name]
    arrays = cut(inputs, how)
    lazy = regard.dask.attention(**arrays, return_lse=True, split_every=2, **given)
    out, lse = run(lazy)
    expected, of_all = regard.attention(**inputs, return_lse=True, **computed(given))
    assert lazy[0].chunks[:3] == arrays["query"].chunks[:3]
    assert out.dtype == lazy[0].dtype == np.float32
    largest = abs(inputs["value"]).max() / (1 - given.get("dropout", 0))
    assert abs(out - expected).max() <= MERGING * UNIT * largest
    assert (np.isneginf(lse) == np.isneginf(of_all)).all()
    seen = np.isfinite(of_all)
    np.testing.assert_allclose(lse[seen], of_all[seen], rtol=2 * UNIT, atol=2 * UNIT)


@pytest.mark.parametrize("name", NAMES)
def test_same_as_the_definition_in_float64(rng, name):
    inputs, given = make_inputs(rng, np.float64), options(rng, np.float64)[name]
    out = regard.dask.attention(**cut(inputs, "everything"), **given)
    expected = reference.attention(**inputs, **computed(given))
    assert abs(out.compute(scheduler="sync") - expected).max() < 1e-12


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_rounded_once(rng, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    inputs = make_inputs(rng, regard.bfloat16 if dtype == "bfloat16" else np.float16)
    out = regard.dask.attention(**cut(inputs, "everything"), causal=True)
    assert out.dtype == inputs["query"].dtype
    exact = {n: x.astype(np.float64) for n, x in inputs.items()}
    once = reference.attention(**exact, causal=True)
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11  # half of one, of numbers below 2
    found = out.compute(scheduler="sync").astype(np.float64)
    assert (abs(found - once) <= unit * abs(once) + 1e-6).all()


def test_int8_keys_with_scales(rng):
    inputs = make_inputs(rng, np.float32)
    key, scales = regard.quantize_kv(inputs["key"])
    value, value_scales = regard.quantize_kv(inputs["value"])
    stored = {"query": inputs["query"], "key": key, "value": value}
    expected = regard.attention(**stored, key_scales=scales, value_scales=value_scales)
    out = regard.dask.attention(
        **cut(stored, "everything"), key_scales=da.from_array(scales), value_scales=value_scales
    )
    assert abs(out.compute(scheduler="sync") - expected).max() <= MERGING * UNIT * 4


def test_other_layouts_and_ranks(rng):
    query, key, value = rng.standard_normal((3, 50, 4, 8))
    cut_up = [da.from_array(x, (20, 2, -1)) for x in (query, key, value)]
    out = regard.dask.attention(*cut_up, layout="SHD", causal=True)
    expected = regard.attention(query, key, value, layout="SHD", causal=True)
    assert out.chunks == ((20, 20, 10), (2, 2), (8,))
    assert abs(out.compute(scheduler="sync") - expected).max() < 1e-13
    one_head = [da.from_array(x, (20, -1)) for x in (query[:, 0], key[:, 0], value[:, 0])]
    out = regard.dask.attention(*one_head)
    expected = regard.attention(query[:, 0], key[:, 0], value[:, 0])
    assert abs(out.compute(scheduler="sync") - expected).max() < 1e-13


def test_batch_of_queries_over_shared_keys(rng):
    query = rng.standard_normal((3, 2, 4, 20, 8))
    key, value = rng.standard_normal((2, 1, 2, 30, 8))
    kept = [da.from_array(x, (1, 1, 15, -1)) for x in (key, value)]
    out = regard.dask.attention(da.from_array(query, (1, 2, 2, 10, -1)), *kept)
    assert abs(out.compute(scheduler="sync") - regard.attention(query, key, value)).max() < 1e-13


def test_workers_do_not_show_in_the_bits(rng, client):
    inputs = make_inputs(rng, np.float32)
    arrays = cut(inputs, "everything")
    given = {"causal": True, "dropout": 0.2, "seed": 3}
    lazy = regard.dask.attention(**arrays, split_every=2, return_lse=True, **given)
    one = list(client.scheduler_info(n_workers=-1)["workers"])[:1]
    by_all = client.gather(client.compute(lazy))
    by_one = client.gather(client.compute(lazy, workers=one))
    for found, other, here in zip(by_all, by_one, run(lazy), strict=True):
        assert (found == here).all()
        assert (other == here).all()


def test_what_nobody_sees_is_not_in_the_graph(rng):
    x = da.zeros((8, 1024, 8), chunks=(8, 128, 8), dtype=np.float32)
    assert tasks(regard.dask.attention(x, x, x), "regard-attend") == 64
    assert tasks(regard.dask.attention(x, x, x, causal=True), "regard-attend") == 36
    banded = regard.dask.attention(x, x, x, causal=True, window=128)
    assert tasks(banded, "regard-attend") == 8 + 7
    assert tasks(regard.dask.attention(x, x, x, window=(129, 0)), "regard-attend") == 8 + 7 + 6
    short = regard.dask.attention(x, x, x, key_lengths=128, query_lengths=129, query_offset=0)
    assert tasks(short, "regard-attend") == 2 + 6  # and one for each chunk that sees nothing
    mask = np.zeros((1024, 1024), bool)
    mask[:, 200] = True
    assert tasks(regard.dask.attention(x, x, x, mask=mask), "regard-attend") == 8
    names = {key[0].rpartition("-")[0] for key in banded.__dask_graph__() if isinstance(key, tuple)}
    assert {"regard-attend", "regard-merge", "regard-out"} <= names


def test_poison_where_nobody_sees(rng):
    inputs = make_inputs(rng, np.float32)
    given = {"key_lengths": [60, 130], "query_lengths": [90, 100], "query_offset": 0}
    clean = run([regard.dask.attention(**cut(inputs, "everything"), **given)])[0]
    for name in ("key", "value"):
        inputs[name][0, :, 60:] = np.nan
    inputs["query"][0, :, 90:] = np.inf
    found = run([regard.dask.attention(**cut(inputs, "everything"), **given)])[0]
    assert (found == clean).all()
    assert not found[0, :, 90:].any()


def test_nothing_is_computed_early(rng):
    def never(block):
        raise AssertionError("computed")

    x = da.zeros((4, 20, 8), chunks=(4, 10, 8)).map_blocks(
        never, dtype=float, meta=np.zeros((0, 0, 0))
    )
    out = regard.dask.attention(x, x, x, causal=True)
    with pytest.raises(AssertionError, match="computed"):
        out.compute(scheduler="sync")


@pytest.mark.parametrize("keys", [0, 5])
def test_empty_arrays(keys):
    query = da.zeros((2, 3, 4), chunks=(1, 2, 4))
    kept = da.zeros((2, keys, 4), chunks=(1, -1, 4))
    out, lse = run(regard.dask.attention(query, kept, kept, sinks=[1.0, 2.0], return_lse=True))
    expected = regard.attention(
        *(np.zeros((2, n, 4)) for n in (3, keys, keys)), sinks=[1.0, 2.0], return_lse=True
    )
    assert (out == expected[0]).all()
    np.testing.assert_allclose(lse, expected[1], atol=1e-15)
    nobody = regard.dask.attention(query[:, :0], kept, kept)
    assert nobody.compute(scheduler="sync").shape == (2, 0, 4)
