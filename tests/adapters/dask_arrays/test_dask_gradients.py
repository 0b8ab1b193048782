"""Gradients of pairs of chunks are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask
import dask.array as da

import regard
import regard.dask
from dask_problems import CUTS, NAMES, computed, cut, make_inputs, options, tasks
from regard import reference

OTHERS = {
    "bias": ("bias",), "bias of keys": ("bias",), "alibi": ("alibi_slopes",),
    "T5": ("position_bias",), "cosine": ("query_scale",), "sinks": ("sinks",),
    "offsets": ("sinks",),
}  # fmt: skip


def both(rng, dtype, name, how, *, with_lse=True):
    """Gradients in chunks, and of one call; all inputs that have any."""
    inputs, given = make_inputs(rng, dtype), options(rng, dtype)[name]
    out, vjp = regard.dask.attention_vjp(**cut(inputs, how), split_every=2, **given)
    expected_out, expected_vjp = regard.attention_vjp(**inputs, **computed(given))
    dout = rng.standard_normal(out.shape).astype(dtype)
    dlse = rng.standard_normal(out.shape[:-1]) if with_lse else None
    wrt = ("query", "key", "value", *OTHERS.get(name, ()))
    lazy = vjp(da.from_array(dout, 7), None if dlse is None else da.from_array(dlse, 9), wrt=wrt)
    found = dask.compute(*lazy, scheduler="sync")
    expected = expected_vjp(dout, dlse, wrt=wrt)
    assert lazy.names == expected.names
    for x, one, other in zip(lazy, found, expected, strict=True):
        assert x.shape == one.shape == other.shape
        assert x.dtype == one.dtype == other.dtype
    assert abs(out.compute(scheduler="sync") - expected_out).max() < 1e-3
    return found, expected


@pytest.mark.parametrize("name", NAMES)
def test_every_option(rng, name):
    for found, expected in zip(*both(rng, np.float64, name, "everything"), strict=True):
        assert abs(found - expected).max() <= 1e-12 * max(1, abs(expected).max())


@pytest.mark.parametrize("how", CUTS)
def test_every_cut(rng, how):
    for found, expected in zip(*both(rng, np.float32, "dropout", how), strict=True):
        assert abs(found - expected).max() <= 1e-6 * max(1, abs(expected).max())


def test_16_bits_are_summed_wide(rng):
    inputs = make_inputs(rng, np.float16)
    out, vjp = regard.dask.attention_vjp(**cut(inputs, "everything"))
    dout = rng.standard_normal(out.shape).astype(np.float16)
    found = dask.compute(*vjp(da.from_array(dout)), scheduler="sync")
    exact = {name: x.astype(np.float64) for name, x in inputs.items()}
    definition = reference.gradients(**exact, dout=dout.astype(np.float64))
    for one, name in zip(found, ("query", "key", "value"), strict=True):
        other = getattr(definition, name)
        assert one.dtype == np.float16
        assert (abs(one - other) <= 2.0**-11 * abs(other) + 1e-5).all()


def test_layout_and_one_head(rng):
    query, key, value, dout = rng.standard_normal((4, 50, 4, 8))
    chunks = (20, 2, -1)
    arrays = [da.from_array(x, chunks) for x in (query, key, value)]
    _, vjp = regard.dask.attention_vjp(*arrays, layout="SHD", causal=True)
    found = dask.compute(*vjp(da.from_array(dout)), scheduler="sync")
    expected = regard.attention_vjp(query, key, value, layout="SHD", causal=True)[1](dout)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_shared_keys_sum_over_the_batch(rng):
    query, dout = rng.standard_normal((2, 3, 2, 20, 8))
    key, value = rng.standard_normal((2, 2, 30, 8))
    arrays = (
        da.from_array(query, (1, 1, 10, -1)),
        *(da.from_array(x, (1, 15, -1)) for x in (key, value)),
    )
    _, vjp = regard.dask.attention_vjp(*arrays)
    found = dask.compute(*vjp(da.from_array(dout)), scheduler="sync")
    expected = regard.attention_vjp(query, key, value)[1](dout)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_a_pair_is_computed_once(rng):
    x = da.zeros((2, 512, 8), chunks=(2, 128, 8))
    _, vjp = regard.dask.attention_vjp(x, x, x, causal=True)
    whole = da.concatenate([g.ravel() for g in vjp(x)])
    assert tasks(whole, "regard-backward") == 10
    assert tasks(whole, "regard-attend") == 10


def test_on_workers(rng, client):
    inputs = make_inputs(rng, np.float32)
    arrays = cut(inputs, "everything")
    _, vjp = regard.dask.attention_vjp(**arrays, causal=True)
    dout = da.ones((2, 4, 100, 8), chunks=(1, 2, 50, -1), dtype=np.float32)
    lazy = list(vjp(dout))
    for found, here in zip(
        client.gather(client.compute(lazy)), dask.compute(*lazy, scheduler="sync"), strict=True
    ):
        assert (found == here).all()
