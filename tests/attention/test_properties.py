"""Hypothesis: any shape, stride and mixture of options, and the laws softmax attention obeys."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import regard
from problems import LAYOUTS, Problem, assert_close, assert_same_bits, check, make_problem

# One less, equal, one more than what blocks and tiles are made of; and anything small.
EDGES = [47, 48, 49, 63, 64, 65, 96, 97, 127, 128, 129, 130]
LONG_EDGES = [*EDGES, 191, 193, 255, 256, 257, 383, 385, 511, 512, 513]

isas = st.sampled_from(regard.available_isas())
dtypes = st.sampled_from([np.float32, np.float64])
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)
query_lengths = st.one_of(st.integers(0, 20), st.sampled_from(EDGES))
key_lengths = st.one_of(st.integers(0, 20), st.sampled_from(LONG_EDGES))
head_dims = st.one_of(st.integers(1, 130), st.sampled_from([8, 16, 32, 64, 96, 128]))
head_counts = st.sampled_from([(1, 1), (2, 2), (2, 1), (6, 2), (5, 1), (3, 3), (8, 2)])
batches = st.sampled_from([(), (1,), (2,), (3,), (2, 2)])


@st.composite
def problems(draw: Any, min_keys: int = 0, options: bool = True) -> Problem:
    heads, kv_heads = draw(head_counts)
    rng = draw(rngs)
    problem = make_problem(
        rng,
        batch=draw(batches),
        heads=heads,
        kv_heads=kv_heads,
        queries=draw(query_lengths),
        keys=draw(key_lengths.filter(lambda n: n >= min_keys)),
        head_dim=draw(head_dims),
        value_dim=draw(st.one_of(st.none(), st.integers(0, 5), head_dims)),
        dtype=draw(dtypes),
    )
    return problem.but(**draw(some_options(problem, rng))) if options else problem


def some_options(problem: Problem, rng: np.random.Generator) -> st.SearchStrategy[dict[str, Any]]:
    *batch, _, _, keys = shape = problem.score_shape
    sides = st.one_of(st.none(), st.integers(0, 10), st.integers(0, keys + 5))
    subsets = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))

    def broadcast(keep: list[bool]) -> tuple[int, ...]:
        return tuple(n if k else 1 for n, k in zip(shape, keep, strict=True))

    def bias(keep: list[bool], masked: float) -> np.ndarray:
        x = 2 * rng.standard_normal(broadcast(keep))
        x[rng.random(x.shape) < masked] = -np.inf
        return x.astype(problem.query.dtype)

    return st.fixed_dictionaries(
        {},
        optional={
            "causal": st.sampled_from([False, True, "lower_right", "upper_left"]),
            "window": st.one_of(st.integers(0, keys + 5), st.tuples(sides, sides)),
            "mask": st.builds(
                lambda keep, p: rng.random(broadcast(keep)) < p, subsets, st.floats(0, 1)
            ),
            "bias": st.builds(bias, subsets, st.sampled_from([0.0, 0.1, 0.9])),
            "key_lengths": st.builds(
                lambda: rng.integers(0, keys, size=tuple(batch), endpoint=True)
            ),
            "scale": st.one_of(st.just(0.0), st.floats(-2, 2, width=32)),
            "num_threads": st.integers(1, 4),
        },
    )


def laid_out(draw: Any, problem: Problem) -> Problem:
    """Each array in a memory layout of its own choosing."""
    layouts = st.sampled_from([lambda x: x, *LAYOUTS.values()])
    names = [n for n in ("mask", "bias") if n in problem.options]
    options = {n: draw(layouts)(problem.options[n]) for n in names}
    arrays = {n: draw(layouts)(getattr(problem, n)) for n in ("query", "key", "value")}
    return problem.but(**arrays, **options)


@given(isas, problems())
def test_agrees_with_the_oracle(isa, problem):
    with regard.set_isa(isa):
        check(problem)


@given(isas, problems(), st.data())
def test_strides_do_not_matter(isa, problem, data):
    with regard.set_isa(isa):
        got = laid_out(data.draw, problem).output_and_lse()
        assert_same_bits(got, problem.output_and_lse())


@given(isas, problems(), st.integers(2, 9))
def test_threads_do_not_matter(isa, problem, threads):
    with regard.set_isa(isa):
        one = problem.but(num_threads=1).output_and_lse()
        assert_same_bits(problem.but(num_threads=threads).output_and_lse(), one)


@given(isas, problems())
def test_rows_sum_to_one(isa, problem):
    """With ones for values the output is the sum of the weights: one, or zero for a blind row."""
    problem = problem.but(value=np.ones_like(problem.value))
    with regard.set_isa(isa):
        out = problem.attention()
    expected = np.broadcast_to(problem.sees.any(axis=-1)[..., np.newaxis], out.shape)
    np.testing.assert_allclose(out, expected, atol=20 * np.finfo(out.dtype).eps, rtol=0)


@given(isas, problems())
def test_output_lies_between_the_values(isa, problem):
    with regard.set_isa(isa):
        out = problem.attention()
    slack = 1 + 20 * np.finfo(out.dtype).eps
    assert np.abs(out).max(initial=0) <= slack * np.abs(problem.value).max(initial=0)


@given(isas, problems(), st.sampled_from([-8.0, 0.5, 32.0]))
def test_shift_of_a_row_changes_only_its_lse(isa, problem, shift):
    problem = problem.but(bias=problem.options.get("bias", np.zeros((), problem.query.dtype)))
    with regard.set_isa(isa):
        out, lse = problem.output_and_lse()
        shifted = problem.but(bias=problem.options["bias"] + problem.query.dtype.type(shift))
        got, got_lse = shifted.output_and_lse()
    output_error, lse_error = shifted.tolerance()
    assert_close(got, out.astype(np.float64), 2 * output_error)
    assert_close(got_lse, lse.astype(np.float64) + shift, 2 * lse_error)


@given(isas, problems(options=False), st.data())
def test_order_of_keys_does_not_matter(isa, problem, data):
    keys = problem.score_shape[-1]
    order = np.array(data.draw(st.permutations(range(keys))), dtype=int)
    mask = np.array([data.draw(st.booleans()) for _ in range(keys)], dtype=bool)
    problem = problem.but(mask=mask)
    permuted = problem.but(
        key=problem.key[..., order, :], value=problem.value[..., order, :], mask=mask[order]
    )
    with regard.set_isa(isa):
        check(problem, permuted.output_and_lse())


@given(isas, problems(min_keys=1, options=False), st.data())
def test_a_causal_row_equals_attention_to_its_prefix(isa, problem, data):
    queries, keys = problem.score_shape[-2:]
    if queries == 0:
        return
    i = data.draw(st.integers(0, queries - 1))
    prefix = max(i + keys - queries + 1, 0)
    alone = problem.but(
        query=problem.query[..., i : i + 1, :],
        key=problem.key[..., :prefix, :],
        value=problem.value[..., :prefix, :],
    )
    with regard.set_isa(isa):
        out, lse = problem.but(causal=True).output_and_lse()
        check(alone, (out[..., i : i + 1, :], lse[..., i : i + 1]))


@given(isas, problems(min_keys=2), st.data())
def test_parts_merged_by_their_lse_equal_the_whole(isa, problem, data):
    shape = problem.score_shape
    cut = data.draw(st.integers(0, shape[-1]))
    bias = problem.options.get("bias", np.zeros((), problem.query.dtype))
    options = {"mask": problem.sees, "bias": np.broadcast_to(bias, shape)}
    parts = []
    with regard.set_isa(isa):
        for part in (slice(None, cut), slice(cut, None)):
            piece = Problem(
                problem.query,
                problem.key[..., part, :],
                problem.value[..., part, :],
                {name: array[..., part] for name, array in options.items()},
            )
            parts.append(piece.but(scale=problem.scale).output_and_lse())
    outputs, lses = (np.stack(a).astype(np.float64) for a in zip(*parts, strict=True))
    lse = np.logaddexp(*lses)
    weights = np.exp(lses - np.where(np.isneginf(lse), 0, lse))
    merged = (weights[..., np.newaxis] * outputs).sum(axis=0)
    dtype = problem.query.dtype
    # check() allows the budget of one evaluation; the merge weighs two and stays within it.
    check(problem, (merged.astype(dtype), lse.astype(dtype)))


@given(isas, problems(min_keys=1, options=False), st.floats(-4, 4, width=32))
def test_output_is_linear_in_the_values(isa, problem, factor):
    dtype = problem.query.dtype.type
    other = problem.value[..., ::-1, :]
    with regard.set_isa(isa):
        sum_of_outputs = problem.attention() * dtype(factor) + problem.but(value=other).attention()
        combined = problem.but(value=problem.value * dtype(factor) + other)
        expected = combined.attention()
    error = combined.tolerance()[0] + (abs(factor) + 1) * problem.tolerance()[0]
    assert_close(sum_of_outputs, expected.astype(np.float64), 2 * error)


@given(isas, problems(), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_masked_does_not_matter(isa, problem, bad):
    seen = problem.seen_keys[..., np.newaxis]
    batch = problem.score_shape[:-3]
    key, value = (np.broadcast_to(a, batch + a.shape[-3:]) for a in (problem.key, problem.value))
    dtype = problem.query.dtype.type
    dirty = problem.but(
        key=np.where(seen, key, dtype(bad)), value=np.where(seen, value, dtype(bad))
    )
    with regard.set_isa(isa):
        assert_same_bits(dirty.output_and_lse(), problem.output_and_lse())


@given(problems())
def test_isas_agree(problem):
    """Each is within the budget of the oracle, so any two are within twice that of each other."""
    results = []
    for isa in regard.available_isas():
        with regard.set_isa(isa):
            results.append(problem.output_and_lse())
    for got in results[1:]:
        for one, other, error in zip(got, results[0], problem.tolerance(), strict=True):
            assert_close(one, other.astype(np.float64), 2 * error)
