"""Hypothesis: all options together, in any shape, layout, dtype and ISA, against the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import regard
from any_options import (
    SCORES,
    Draw,
    dtypes,
    head_counts,
    in_pages,
    isas,
    layouts,
    poisoned,
    problems,
    rngs,
    some_options,
    thorough,
)
from problems import Problem, check
from regard import bias, reference


@thorough
@given(isas, problems(), st.booleans(), st.data())
def test_all_options_together(isa, problem, poison, data):
    laid_out = poisoned(problem) if poison else problem
    names = [n for n in ("mask", "bias") if isinstance(problem.options.get(n), np.ndarray)]
    laid_out = laid_out.but(
        **{n: data.draw(layouts)(getattr(laid_out, n)) for n in ("query", "key", "value")},
        **{n: data.draw(layouts)(problem.options[n]) for n in names},
    )
    paged_too = len(problem.score_shape) == 4 and not isinstance(
        problem.options.get("position_bias"), bias.Grid
    )
    if paged_too and data.draw(st.booleans()):
        laid_out = in_pages(data.draw, np.random.default_rng(0), laid_out)
    with regard.set_isa(isa):
        check(problem, laid_out.output_and_lse())


@given(isas, problems(storage=False), st.data())
def test_weights_under_all_options(isa, problem, data):
    options = {n: x for n, x in problem.options.items() if n not in ("dropout", "seed")}
    problem = Problem(problem.query, problem.key, np.ones_like(problem.value), options)
    queries, keys = problem.score_shape[-2:]
    rows = data.draw(st.lists(st.integers(0, queries - 1), max_size=5))
    some = data.draw(st.slices(keys))
    with regard.set_isa(isa):
        got = regard.attention_weights(problem.query, problem.key, rows=rows, keys=some, **options)
    options.pop("num_threads", None)
    expected = reference.weights(problem.query, problem.key, **options)
    expected = expected[..., np.array(rows, dtype=int), :][..., some]
    np.testing.assert_allclose(got, expected, rtol=0, atol=problem.tolerance()[0])


@given(isas, rngs, dtypes, head_counts, st.data())
def test_packed_pieces_under_all_options(isa, rng, dtype, head_count, data):
    heads, kv_heads = head_count
    lengths = st.one_of(st.integers(0, 9), st.sampled_from([47, 49, 64, 65, 129]))
    sizes = data.draw(st.lists(st.tuples(lengths, lengths), min_size=1, max_size=5))
    rows, keys = (np.array(x) for x in zip(*sizes, strict=True))
    cu_q, cu_k = (np.concatenate([[0], np.cumsum(x)]) for x in (rows, keys))
    query, key, value = (
        rng.standard_normal((total, n, 20)).astype(dtype)
        for total, n in ((cu_q[-1], heads), (cu_k[-1], kv_heads), (cu_k[-1], kv_heads))
    )
    d = Draw(data.draw, rng, (len(sizes), heads, int(rows.max()), int(keys.max())), dtype)
    names = ("causal", "window", "bias", "query_offset", "num_threads", *SCORES)
    options = some_options(data.draw, d, names)
    if "query_scale" in options:  # a number for each row of the packed queries
        options["query_scale"] = rng.choice([0.0, 1.0, -0.5, 3.0], (heads, cu_q[-1]))
    with regard.set_isa(isa):
        out, lse = regard.varlen_attention(
            query, key, value, cu_q, cu_k, return_lse=True, **options
        )
    expected = reference.varlen_attention(query, key, value, cu_q, cu_k, **options)
    # One budget for all pieces: that of them in a batch, filled up with zeros.
    whole = {n: np.zeros((len(sizes), x.shape[1], m, 20), dtype) for n, x, m in (
        ("query", query, d.queries), ("key", key, d.keys), ("value", value, d.keys))}  # fmt: skip
    for n in range(len(sizes)):
        whole["query"][n, :, : rows[n]] = query[cu_q[n] : cu_q[n + 1]].swapaxes(0, 1)
        whole["key"][n, :, : keys[n]] = key[cu_k[n] : cu_k[n + 1]].swapaxes(0, 1)
        whole["value"][n, :, : keys[n]] = value[cu_k[n] : cu_k[n + 1]].swapaxes(0, 1)
    if "query_scale" in options:
        options["query_scale"] = np.abs(options["query_scale"]).max(initial=0)
    error, _ = Problem(**whole, options=options).tolerance()
    assert out.shape == expected.shape
    assert lse.shape == (heads, cu_q[-1])
    np.testing.assert_allclose(out, expected, rtol=0, atol=error)
