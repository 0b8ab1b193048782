"""Where gradients are read from and written to: layouts, buffers, and which are wanted."""

from __future__ import annotations

import numpy as np
import pytest

import regard
from gradient_problems import EXTRAS, bits, gradients, option_problem, upstream, wanted
from problems import LAYOUTS, assert_same_bits
from regard import reference


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(isa, dtype, rng, layout):
    problem = option_problem(rng, "bias", dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    expected = bits(gradients(problem, dout, dlse), names)
    change = LAYOUTS[layout]
    moved = problem.but(
        query=change(problem.query), key=change(problem.key), value=change(problem.value),
        bias=change(problem.options["bias"]),
    )  # fmt: skip
    assert_same_bits(bits(gradients(moved, change(dout), change(dlse)), names), expected)
    if layout == "read-only":
        return
    buffers = {name: change(np.full_like(x, 7)) for name, x in zip(names, expected, strict=True)}
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    grads = vjp(dout, dlse, wrt=names, out=buffers)
    for name, x in zip(names, expected, strict=True):
        assert getattr(grads, name) is buffers[name]
        np.testing.assert_array_equal(buffers[name], x)


@pytest.mark.parametrize("option", ["lengths", "window", "rows that see nothing", "bias of all"])
def test_buffers_are_written_whole(isa, dtype, rng, option):
    """Also where nobody sees anything."""
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    expected = bits(gradients(problem, dout, dlse), names)
    buffers = {name: np.full_like(x, np.nan) for name, x in zip(names, expected, strict=True)}
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    vjp(dout, dlse, wrt=names, out=buffers)
    assert_same_bits(tuple(buffers.values()), expected)


def test_accumulate(isa, dtype, rng):
    problem = option_problem(rng, "all", dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    _, vjp = regard.attention_vjp(problem.query, problem.key, problem.value, **problem.options)
    once = vjp(dout, dlse, wrt=names)
    buffers = {name: getattr(once, name).copy() for name in names}
    again = vjp(dout, dlse, wrt=names, out=buffers, accumulate=True)
    for name in names:
        one = getattr(once, name)
        atol = 16 * np.finfo(dtype).eps * np.abs(one).max()
        np.testing.assert_allclose(getattr(again, name), 2 * one, rtol=0, atol=atol)
    # A record of an earlier call can be given as it is.
    vjp(dout, dlse, wrt=names, out=again)
    assert_same_bits(bits(again, names), bits(once, names))


@pytest.mark.parametrize("option", ["plain", "all", "relative", "softcap"])
def test_wrt(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    names = wanted(problem)
    everything = gradients(problem, dout, dlse)
    for name in names:
        alone = gradients(problem, dout, dlse, wrt=name)
        assert_same_bits(getattr(alone, name), getattr(everything, name))
        assert alone.names == (name,)
        for other in {*names, *EXTRAS} - {name}:
            with pytest.raises(AttributeError, match=f"gradient by {other} was not asked for"):
                getattr(alone, other)


def test_in_the_order_of_wrt(rng):
    problem = option_problem(rng, "plain", np.float32)
    dout, dlse = upstream(rng, problem)
    got = gradients(problem, dout, dlse, wrt=["value", "query"])
    assert got.names == ("value", "query")
    assert len(got) == 2
    value, query = got
    assert value is got.value
    assert query is got["query"]
    with pytest.raises(KeyError, match="key"):
        got["key"]
    with pytest.raises(AttributeError, match="no attribute 'keys'"):
        got.keys  # noqa: B018
    with pytest.raises(TypeError, match="there is none by keys"):
        regard.Gradients(keys=value)
    assert repr(got) == f"Gradients(value={value.shape}, query={query.shape})"


def test_bool_and_integer_inputs(rng):
    x = rng.integers(-2, 3, (2, 6, 4))
    out, vjp = regard.attention_vjp(x, x, x)
    grads = vjp(np.ones_like(out))
    assert grads.query.dtype == np.float64
    expected = reference.gradients(np.ones_like(out), x, x, x)
    np.testing.assert_allclose(grads.key, expected.key, atol=1e-14)
