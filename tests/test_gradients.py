"""Gradients of every option, on every ISA, against the float64 oracle."""

from __future__ import annotations

import pytest

from gradient_problems import OPTIONS, check_gradients, gradients, upstream
from problems import make_problem

SIZES = {
    # Several blocks of rows, panels, tiles and vectors, none of them whole.
    "long": {"batch": (2,), "heads": 4, "kv_heads": 2, "queries": 131, "keys": 203},
    "few": {"batch": (2,), "heads": 4, "kv_heads": 4, "queries": 3, "keys": 7},
    "many queries": {"batch": (1,), "heads": 4, "kv_heads": 1, "queries": 150, "keys": 70},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_against_the_oracle(isa, dtype, rng, option, size):
    sizes = SIZES[size]
    shape = (*sizes["batch"], sizes["heads"], sizes["queries"], sizes["keys"])
    problem = make_problem(
        rng, **sizes, head_dim=17, value_dim=9, dtype=dtype, **OPTIONS[option](rng, shape, dtype)
    )
    dout, dlse = upstream(rng, problem)
    check_gradients(problem, gradients(problem, dout, dlse), dout, dlse)
