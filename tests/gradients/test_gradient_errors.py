"""Bad arguments of gradients: refused by name, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest

import regard


@pytest.fixture
def arrays(rng):
    return tuple(rng.standard_normal((2, 5, 4)).astype(np.float32) for _ in range(3))


@pytest.fixture
def vjp(arrays):
    return regard.attention_vjp(*arrays, sinks=np.zeros(2))[1]


DOUT = np.ones((2, 5, 4), np.float32)
READONLY = np.ones((2, 5, 4), np.float32)
READONLY.flags.writeable = False

CASES = {
    "vjp: dout has shape (2, 5, 3)": ((np.ones((2, 5, 3)),), {}),
    "vjp: dlse has shape (2, 4)": ((DOUT, np.ones((2, 4))), {}),
    "vjp: wrt has 'keys'": ((DOUT,), {"wrt": ["keys"]}),
    "vjp: wrt has 'bias', which the call was not given": ((DOUT,), {"wrt": "bias"}),
    "vjp: accumulate adds to arrays": ((DOUT,), {"accumulate": True}),
    "vjp: out has an array for 'key', whose": (
        (DOUT,), {"wrt": "query", "out": {"key": DOUT.copy()}},
    ),
    "vjp: out['query'] has shape (5, 4)": ((DOUT,), {"out": {"query": DOUT[0].copy()}}),
    "vjp: out['query'] is read-only": ((DOUT,), {"out": {"query": READONLY}}),
    "vjp: out['key'] shares memory with dout": ((DOUT,), {"out": {"key": DOUT}}),
}  # fmt: skip

TYPES = {
    "vjp: out is a list": ((DOUT,), {"out": [DOUT]}),
    "vjp: out['key'] is a list": ((DOUT,), {"out": {"key": [1.0]}}),
    "vjp: out['key'] has dtype float64": ((DOUT,), {"out": {"key": np.ones((2, 5, 4))}}),
    "vjp: dout has dtype complex": ((DOUT.astype(complex),), {}),
}


@pytest.mark.parametrize("text", CASES)
def test_value_errors(vjp, text):
    positional, named = CASES[text]
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared as text below
        vjp(*positional, **named)
    assert text in str(error.value)
    assert "\n  " in str(error.value)


@pytest.mark.parametrize("text", TYPES)
def test_type_errors(vjp, text):
    positional, named = TYPES[text]
    with pytest.raises(TypeError) as error:
        vjp(*positional, **named)
    assert text in str(error.value)


def test_buffers_of_each_other(vjp):
    buffer = np.ones((2, 5, 4), np.float32)
    with pytest.raises(ValueError, match=r"out\['key'\] shares memory with out\['query'\]"):
        vjp(DOUT, out={"query": buffer, "key": buffer})


@pytest.mark.parametrize("option", ["return_lse", "out"])
def test_options_of_the_forward_pass(arrays, option):
    with pytest.raises(TypeError, match=f"attention_vjp: {option} is no option of a call"):
        regard.attention_vjp(*arrays, **{option: None})


def test_saved_arrays(arrays):
    out, lse = regard.attention(*arrays, return_lse=True)
    backward = regard.attention_backward
    buffer = np.full((2, 5, 4), 7, np.float32)
    kept = {"gradients": {"query": buffer}}
    with pytest.raises(ValueError, match=r"attention_backward: lse has shape \(2, 4\)"):
        backward(DOUT, *arrays, out, lse[:, :-1], **kept)
    with pytest.raises(ValueError, match=r"attention_backward: out has shape \(2, 4, 4\)"):
        backward(DOUT[:, 1:], *arrays, out[:, 1:], lse, **kept)
    with pytest.raises(TypeError, match="attention_backward: lse has dtype float64"):
        backward(DOUT, *arrays, out, lse.astype(np.float64), **kept)
    with pytest.raises(ValueError, match="attention_backward: key and value disagree"):
        backward(DOUT, arrays[0], arrays[1][:, 1:], arrays[2], out, lse)
    assert (buffer == 7).all()


@pytest.mark.parametrize("option", ["block_table", "key_scales", "value_scales"])
def test_keys_that_are_kept_otherwise(arrays, option):
    with pytest.raises(ValueError, match=f"attention_vjp: there are no derivatives with {option}"):
        regard.attention_vjp(*arrays, **{option: np.ones((2, 5))})


@pytest.mark.parametrize("function", ["attention_vjp", "attention_jvp"])
def test_options_that_do_not_exist(arrays, function):
    with pytest.raises(TypeError, match=f"{function}: there is no option causl"):
        getattr(regard, function)(*arrays, causl=True)
