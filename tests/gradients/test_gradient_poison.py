"""Gradients of what is masked: zeros, and none of its NaN and Inf anywhere else."""

from __future__ import annotations

import numpy as np
import pytest

from gradient_problems import SHAPE, bits, gradients, option_problem, upstream, wanted


def test_masked_keys_have_gradients_of_zero(isa, dtype, rng):
    problem = option_problem(rng, "plain", dtype)
    mask = rng.random((2, 1, 1, 203)) < 0.5
    dout, dlse = upstream(rng, problem)
    grads = gradients(problem.but(mask=mask), dout, dlse)
    hidden = ~mask[:, 0, 0]
    for name in ("key", "value"):
        of_keys = getattr(grads, name).swapaxes(-3, -2)
        assert (of_keys[hidden] == 0).all()
        assert (of_keys[~hidden] != 0).any()


@pytest.mark.parametrize("option", ["rows that see nothing", "sinks alone", "lengths"])
def test_rows_that_see_nothing(isa, dtype, rng, option):
    problem = option_problem(rng, option, dtype)
    dout, dlse = upstream(rng, problem)
    grads = gradients(problem, dout, dlse)
    blind = ~problem.sees.any(axis=-1)
    assert blind.any()
    assert (grads.query[blind] == 0).all()
    for name in wanted(problem):
        assert np.isfinite(getattr(grads, name)).all()


def poisoned(x, rows, value):
    x = x.copy()
    for n, first in enumerate(rows):
        x[n, :, first:] = value
    return x


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("option", ["causal", "all", "relative", "alibi", "dropout", "cosine"])
def test_masked_poison_does_not_leak(isa, dtype, rng, option, bad):
    """Padding in keys and queries, cut off by lengths or, in tiles that are computed, by a mask."""
    queries, keys = (100, 131), (150, 203)
    problem = option_problem(rng, option, dtype)
    mask = np.ones(SHAPE, bool)
    for n in range(2):
        mask[n, :, queries[n] :] = mask[n, ..., keys[n] :] = False
    if "mask" in problem.options:
        mask &= problem.options["mask"]
    dout, dlse = upstream(rng, problem)
    dirty = problem.but(
        query=poisoned(problem.query, queries, bad),
        key=poisoned(problem.key, keys, bad),
        value=poisoned(problem.value, keys, bad),
    )
    bad_dout = poisoned(dout, queries, bad)
    for changes in ({"mask": mask}, {"key_lengths": keys, "query_lengths": queries}):
        names = wanted(problem)
        expected = bits(gradients(problem.but(**changes), poisoned(dout, queries, 0), dlse), names)
        got = bits(gradients(dirty.but(**changes), bad_dout, dlse), names)
        for name, one, other in zip(names, got, expected, strict=True):
            np.testing.assert_array_equal(one, other, name)


def test_nan_stays_in_its_row_and_the_keys_it_sees(isa, dtype, rng):
    problem = option_problem(rng, "causal", dtype)
    query = problem.query.copy()
    query[0, 1, 40] = np.nan  # sees keys up to 40 + 203 - 131
    dout, _ = upstream(rng, problem)
    clean = gradients(problem, dout)
    grads = gradients(problem.but(query=query), dout)
    last = 40 + 203 - 131
    assert np.isnan(grads.query[0, 1, 40]).all()
    assert np.isnan(grads.key[0, 0, : last + 1]).all()
    assert np.isnan(grads.value[0, 0, : last + 1]).all()
    np.testing.assert_array_equal(grads.key[0, 0, last + 1 :], clean.key[0, 0, last + 1 :])
    np.testing.assert_array_equal(grads.value[0, 0, last + 1 :], clean.value[0, 0, last + 1 :])
    others = np.ones(SHAPE[:3], bool)
    others[0, 1, 40] = False
    np.testing.assert_array_equal(grads.query[others], clean.query[others])
    np.testing.assert_array_equal(grads.key[1], clean.key[1])
